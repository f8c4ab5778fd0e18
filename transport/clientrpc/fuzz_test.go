package clientrpc_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/holdfastvpn/holdfast/transport/clientrpc"
	"github.com/holdfastvpn/holdfast/transport/clientrpc/internal/pb"
	"github.com/holdfastvpn/holdfast/transport/sealed"
)

// Whatever a stranger says to enrol, sealed and signed as it should be, makes no device.
func FuzzEnrol(f *testing.F) {
	good, err := proto.Marshal(&pb.EnrolRequest{
		TokenId: make([]byte, 16), Wireguard: make([]byte, 32), Knows: make([]byte, 32), Has: make([]byte, 32), Name: "x",
	})
	require.NoError(f, err)
	f.Add(good)
	f.Add([]byte{0xff})
	r := newRig(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > sealed.MaxBody {
			return
		}
		r.now = r.now.Add(time.Second)
		err := clientrpc.AskAsStranger(t.Context(), r.client, "enrol", b)
		require.Error(t, err)
		require.NotErrorIs(t, err, clientrpc.ErrInternal)
		require.Empty(t, r.store.used)
	})
}

// Whatever a core says is an answer or an error.
func FuzzReply(f *testing.F) {
	for _, m := range []*pb.Reply{{}, {Result: []byte{1}}, {Fault: &pb.Fault{Words: []string{"used"}, Text: "x"}}} {
		b, err := proto.Marshal(m)
		require.NoError(f, err)
		f.Add(b)
	}
	r := newRig(f)
	f.Fuzz(func(_ *testing.T, b []byte) { _ = r.client.Read(b) })
}
