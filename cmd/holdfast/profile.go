package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// profileWriter hands a profile to the operator, in one of three ways.
type profileWriter struct {
	e    *env
	qr   bool
	file *os.File // nil: none
}

// newProfileWriter makes the file now, so that nothing is done where it cannot be.
func newProfileWriter(e *env, qr bool, path string) (*profileWriter, error) {
	w := &profileWriter{e: e, qr: qr}
	if path == "" {
		return w, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, usagef("--out", "%s is there already: choose another name", path)
	}
	if err != nil {
		return nil, usagef("--out", "%v", err)
	}
	w.file = f
	return w, nil
}

// cancel removes the file.
func (w *profileWriter) cancel() {
	if w.file != nil {
		_ = w.file.Close()
		_ = os.Remove(w.file.Name())
		w.file = nil
	}
}

// write hands over the profile, with a key if there is one.
func (w *profileWriter) write(p peer.Profile, key wgkey.Private) error {
	text := p.Template()
	if !key.IsZero() {
		text = p.WGQuick(key)
	}
	switch {
	case w.file != nil:
		_, err := io.WriteString(w.file, text)
		if err = errors.Join(err, w.file.Sync(), w.file.Close()); err != nil {
			return fmt.Errorf("write %s: %w", w.file.Name(), err)
		}
		fmt.Fprintf(w.e.err, "its profile is in %s\n", w.file.Name())
		w.file = nil
		return nil
	case w.qr:
		code, err := peer.QR(text)
		if err != nil {
			return usagef("--qr", "%v", err)
		}
		text = code.Text()
	}
	if _, err := io.WriteString(w.e.out, text); err != nil {
		return fmt.Errorf("write the profile: %w", err)
	}
	return nil
}
