package adminrpc

import (
	"bytes"
	"context"
	"errors"
	"io"

	"connectrpc.com/connect"

	"github.com/holdfastvpn/holdfast/transport/adminrpc/internal/pb"
	"github.com/holdfastvpn/holdfast/vpn"
)

// Keeping is the care of what a core keeps. It is safe for concurrent use.
type Keeping interface {
	// Backup writes the store as of one moment to w, while it is in use.
	Backup(ctx context.Context, w io.Writer) error
	// RotateKey makes a new key that seals secrets, seals all of them anew, and
	// forgets the old keys. It returns how many. When it fails half-way, nothing is
	// lost, and it may be repeated.
	RotateKey(ctx context.Context) (int, error)
}

// Events of the care of a core.
const (
	coreBackup    = "core.backup"
	coreRotateKey = "core.rotate-key"
)

type cores struct{ *api }

var errNoKeeping = errors.New("adminrpc: this core is not kept by itself: its operator has other means")

// Backup sends the file in parts.
func (s cores) Backup(ctx context.Context, _ *pb.BackupRequest, out *connect.ServerStream[pb.BackupResponse]) error {
	if s.Keeping == nil {
		return connect.NewError(connect.CodeUnimplemented, errNoKeeping)
	}
	if err := s.Core.Events().Note(ctx, vpn.Event{What: coreBackup, Subject: s.Core.ID()}); err != nil {
		return err
	}
	if err := s.Keeping.Backup(ctx, parts{out}); err != nil {
		return err
	}
	return out.Send(&pb.BackupResponse{Last: true})
}

// parts sends what is written.
type parts struct {
	out *connect.ServerStream[pb.BackupResponse]
}

// Write sends b, in messages that are not too large.
func (p parts) Write(b []byte) (int, error) {
	const most = 256 << 10
	for n := 0; n < len(b); n += most {
		if err := p.out.Send(&pb.BackupResponse{Data: b[n:min(n+most, len(b))]}); err != nil {
			return n, err
		}
	}
	return len(b), nil
}

// RotateKey does, and tells.
func (s cores) RotateKey(ctx context.Context, _ *pb.RotateKeyRequest) (*pb.RotateKeyResponse, error) {
	if s.Keeping == nil {
		return nil, connect.NewError(connect.CodeUnimplemented, errNoKeeping)
	}
	n, err := s.Keeping.RotateKey(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.Core.Events().Note(ctx, vpn.Event{What: coreRotateKey, Subject: s.Core.ID()}); err != nil {
		return nil, err
	}
	return &pb.RotateKeyResponse{Sealed: int32(n)}, nil
}

// Backup writes the core's store as of one moment to w. What was written is worth
// nothing if there is an error.
func (c *Client) Backup(ctx context.Context, w io.Writer) error {
	s, err := c.cores.Backup(ctx, &pb.BackupRequest{})
	if err != nil {
		return decode(err)
	}
	defer func() { _ = s.Close() }() // all that there is to be said was
	whole := false
	for s.Receive() {
		if _, err := io.Copy(w, bytes.NewReader(s.Msg().GetData())); err != nil {
			return err
		}
		whole = s.Msg().GetLast()
	}
	if err := s.Err(); err != nil {
		return decode(err)
	}
	if !whole {
		return ErrAway
	}
	return nil
}

// RotateKey is Keeping.RotateKey of the core.
func (c *Client) RotateKey(ctx context.Context) (int, error) {
	r, err := c.cores.RotateKey(ctx, &pb.RotateKeyRequest{})
	if err != nil {
		return 0, decode(err)
	}
	return int(r.GetSealed()), nil
}
