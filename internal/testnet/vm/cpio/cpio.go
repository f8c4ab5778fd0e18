// Package cpio writes the archives that the kernel unpacks as its first file
// system: the format "newc" of cpio.
//
// Names are relative to the root, with slashes and without a leading one. Parents
// have to be written before what they contain; [Writer] does not look after that.
// All files belong to root, and to no time, so that equal trees make equal
// archives.
package cpio

import (
	"fmt"
	"io"
	"strings"
)

// What a file is, in the upper bits of its mode.
const (
	typeDir  = 0o040000
	typeChar = 0o020000
	typeFile = 0o100000
	typeLink = 0o120000
)

// maxSize is what fits into the eight digits of a size.
const maxSize = 1<<32 - 1

// Writer writes one archive. Make one with [NewWriter] and end it with Close. It
// is not safe for concurrent use.
type Writer struct {
	w     io.Writer
	inode uint32
	pos   int64
}

// NewWriter returns a Writer of an archive that goes to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Dir adds a directory with these permissions.
func (w *Writer) Dir(name string, perm uint32) error {
	return w.entry(name, header{mode: typeDir | perm&0o7777, links: 2}, nil)
}

// Link adds a symbolic link.
func (w *Writer) Link(name, target string) error {
	return w.entry(name, header{mode: typeLink | 0o777, links: 1, size: int64(len(target))}, strings.NewReader(target))
}

// Char adds a character device.
func (w *Writer) Char(name string, perm, major, minor uint32) error {
	return w.entry(name, header{mode: typeChar | perm&0o7777, links: 1, major: major, minor: minor}, nil)
}

// File adds a regular file of that many bytes, all of them from content. Content
// that is shorter is an error; what is longer is left unread.
func (w *Writer) File(name string, perm uint32, size int64, content io.Reader) error {
	return w.entry(name, header{mode: typeFile | perm&0o7777, links: 1, size: size}, content)
}

// Close writes the end of the archive. It leaves the underlying writer open.
func (w *Writer) Close() error {
	return w.entry("TRAILER!!!", header{links: 1}, nil)
}

// header is what differs between entries.
type header struct {
	mode, links  uint32
	size         int64
	major, minor uint32
}

func (w *Writer) entry(name string, h header, content io.Reader) error {
	if h.size < 0 || h.size > maxSize {
		return fmt.Errorf("cpio: add %q: %d bytes do not fit into the format", name, h.size)
	}
	if name == "" || strings.HasPrefix(name, "/") || strings.ContainsRune(name, 0) {
		return fmt.Errorf("cpio: add %q: want a name relative to the root", name)
	}
	inode := uint32(0)
	if h.mode != 0 { // not at the end
		w.inode++
		inode = w.inode
	}
	// Magic, inode, mode, owner, group, links, time, size, device of the file
	// (two), device that it is (two), length of the name, checksum.
	head := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		inode, h.mode, 0, 0, h.links, 0, h.size, 0, 0, h.major, h.minor, len(name)+1, 0, name)
	if err := w.write(strings.NewReader(head), int64(len(head))); err != nil {
		return fmt.Errorf("cpio: add %s: %w", name, err)
	}
	if h.size == 0 {
		return nil
	}
	if err := w.write(content, h.size); err != nil {
		return fmt.Errorf("cpio: add %s: %w", name, err)
	}
	return nil
}

// write copies n bytes, and fills up to a multiple of four.
func (w *Writer) write(from io.Reader, n int64) error {
	copied, err := io.CopyN(w.w, from, n)
	w.pos += copied
	if err != nil {
		return err
	}
	pad := -w.pos & 3
	if pad == 0 {
		return nil
	}
	_, err = w.w.Write(make([]byte, pad))
	w.pos += pad
	return err
}
