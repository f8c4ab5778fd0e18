// Package vpn puts the parts together: start here to embed a control plane.
package vpn
