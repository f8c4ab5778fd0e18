package gatewayrpc

import (
	"encoding/binary"
	"fmt"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	"github.com/holdfastvpn/holdfast/gateway"
)

// AppendUpdate appends an update, keys included. Prefixes that are none arrive as zero
// ones, keepalives in whole seconds. The error is ErrTooLarge, and names the row.
func AppendUpdate(b []byte, u gateway.Update) ([]byte, error) {
	for m, err := range updateParts(u) {
		if err == nil {
			b, err = appendPart(b, m)
		}
		if err != nil {
			return nil, fmt.Errorf("gatewayrpc: write the update to %v: %w", u.To, err)
		}
	}
	return b, nil
}

// ParseUpdate reads what AppendUpdate wrote. The error is ErrInvalid or ErrTooLarge.
func ParseUpdate(b []byte) (gateway.Update, error) {
	var j updates
	if err := parseParts(b, j.add); err != nil {
		return gateway.Update{}, fmt.Errorf("gatewayrpc: read an update: %w", err)
	}
	return j.u, nil
}

// AppendStatus appends a status as of now. Words for problems are cut at 1,024 bytes,
// other texts at 255; what is no UTF-8 is left out.
func AppendStatus(b []byte, s gateway.Status, now time.Time) ([]byte, error) {
	var err error
	for m := range statusParts(s, now) {
		if b, err = appendPart(b, m); err != nil {
			return nil, fmt.Errorf("gatewayrpc: write a status: %w", err)
		}
	}
	return b, nil
}

// ParseStatus reads what AppendStatus wrote at an instant that was sent by the reader's
// clock: now, less what Lag says of the message. The error is ErrInvalid or ErrTooLarge.
func ParseStatus(b []byte, sent time.Time) (gateway.Status, error) {
	var j statuses
	j.begin(sent)
	if err := parseParts(b, j.add); err != nil {
		return gateway.Status{}, fmt.Errorf("gatewayrpc: read a status: %w", err)
	}
	return j.s, nil
}

// appendPart appends a message with its length before it.
func appendPart(b []byte, m proto.Message) ([]byte, error) {
	o := proto.MarshalOptions{}
	n := o.Size(m)
	if n > maxMessage {
		return nil, fmt.Errorf("%w: a part of %d bytes", ErrTooLarge, n)
	}
	return o.MarshalAppend(binary.AppendUvarint(b, uint64(n)), m)
}

// parseParts reads messages to the end of b, which has to be that of the whole.
func parseParts[T any, M interface {
	*T
	proto.Message
}](b []byte, add func(M) (bool, error),
) error {
	for {
		n, used := binary.Uvarint(b)
		if used <= 0 || n > maxMessage || n > uint64(len(b)-used) {
			return fmt.Errorf("%w: it breaks off", ErrInvalid)
		}
		m := M(new(T))
		if err := proto.Unmarshal(b[used:used+int(n)], m); err != nil {
			return fmt.Errorf("%w: it is no message", ErrInvalid)
		}
		if err := protovalidate.GlobalValidator.Validate(m); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		whole, err := add(m)
		if b = b[used+int(n):]; err != nil {
			return err
		}
		if whole != (len(b) == 0) {
			return fmt.Errorf("%w: its end is not where it says", ErrInvalid)
		}
		if whole {
			return nil
		}
	}
}
