// Package moduletest makes files that look like kernel modules.
package moduletest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"
)

// File is an object file whose section .modinfo has these lines ("depends=a,b").
// It has no code, so no kernel takes it.
func File(lines ...string) []byte {
	const headSize, sectionSize = 64, 64
	info := strings.Join(lines, "\x00") + "\x00"
	names := "\x00.modinfo\x00.shstrtab\x00"
	at := uint64(headSize)
	sections := []elf.Section64{
		{},
		{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: at, Size: uint64(len(info)), Addralign: 1},
		{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: at + uint64(len(info)), Size: uint64(len(names)), Addralign: 1},
	}
	head := elf.Header64{
		Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1,
		Shoff: at + uint64(len(info)+len(names)), Ehsize: headSize,
		Shentsize: sectionSize, Shnum: uint16(len(sections)), Shstrndx: 2,
	}
	copy(head.Ident[:], "\x7fELF\x02\x01\x01")
	var b bytes.Buffer
	for _, part := range []any{head, []byte(info), []byte(names), sections} {
		_ = binary.Write(&b, binary.LittleEndian, part) // a buffer takes everything
	}
	return b.Bytes()
}
