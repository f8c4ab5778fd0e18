package siblingrpc

import (
	"encoding/binary"
	"fmt"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport/siblingrpc/internal/pb"
)

// AppendNote appends a note as of now, without who saw the peers: that is who sends it.
// More than 1,024 addresses are cut, and a zone that is longer than about 40 bytes makes
// of its address none. The error is ErrTooLarge: more than half a million peers, or
// 131,072 connections.
func AppendNote(b []byte, n gateway.Note, now time.Time) ([]byte, error) {
	if len(n.Seen) > maxRows {
		return nil, fmt.Errorf("siblingrpc: write a note: %w: %d peers", ErrTooLarge, len(n.Seen))
	}
	if flows := len(n.Flows.Began) + len(n.Flows.Ended); flows > maxFlows {
		return nil, fmt.Errorf("siblingrpc: write a note: %w: %d connections", ErrTooLarge, flows)
	}
	var err error
	o := proto.MarshalOptions{}
	for m := range noteParts(n, now) {
		b = binary.AppendUvarint(b, uint64(o.Size(m)))
		if b, err = o.MarshalAppend(b, m); err != nil {
			return nil, fmt.Errorf("siblingrpc: write a note: %w", err)
		}
	}
	return b, nil
}

// ParseNote reads what AppendNote wrote at an instant that was sent by the reader's
// clock, and says of all that was seen that by saw it. The error is ErrInvalid or
// ErrTooLarge.
func ParseNote(b []byte, by gateway.ID, sent time.Time) (gateway.Note, error) {
	var j notes
	j.begin(by, sent)
	for {
		n, used := binary.Uvarint(b)
		if used <= 0 || n > maxMessage || n > uint64(len(b)-used) {
			return gateway.Note{}, fmt.Errorf("siblingrpc: read a note: %w: it breaks off", ErrInvalid)
		}
		var m pb.Part
		err := proto.Unmarshal(b[used:used+int(n)], &m)
		if err == nil {
			err = protovalidate.GlobalValidator.Validate(&m)
		}
		if err != nil {
			return gateway.Note{}, fmt.Errorf("siblingrpc: read a note: %w: %w", ErrInvalid, err)
		}
		whole, err := j.add(&m)
		b = b[used+int(n):]
		switch {
		case err != nil:
			return gateway.Note{}, fmt.Errorf("siblingrpc: read a note: %w", err)
		case whole != (len(b) == 0):
			return gateway.Note{}, fmt.Errorf("siblingrpc: read a note: %w: its end is not where it says", ErrInvalid)
		case whole:
			return j.n, nil
		}
	}
}
