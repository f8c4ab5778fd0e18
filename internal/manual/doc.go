// Package manual holds the tests of the pages for operators: what docs/quickstart.md
// tells to type is typed, and docs/operating.md knows every metric, event and scenario.
// It has no code but tests.
package manual
