package gatewayrpc_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/transport/gatewayrpc"
	"github.com/holdfastvpn/holdfast/transport/gatewayrpc/internal/pb"
)

// raw is the service by hand: it says what it is told to, right or wrong.
type raw struct {
	pb.UnimplementedGatewayServiceHandler

	say []*pb.WatchResponse
	as  func(context.Context, *connect.BidiStream[pb.WatchRequest, pb.WatchResponse]) error
}

func (r raw) Watch(ctx context.Context, s *connect.BidiStream[pb.WatchRequest, pb.WatchResponse]) error {
	if _, err := s.Receive(); err != nil {
		return err
	}
	for _, m := range r.say {
		if err := s.Send(m); err != nil {
			return err
		}
	}
	if r.as != nil {
		return r.as(ctx, s)
	}
	<-ctx.Done()
	return nil
}

// watchRaw watches a hand-made service until something comes.
func watchRaw(t *testing.T, r raw) (gateway.Update, error) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(pb.NewGatewayServiceHandler(r))
	for u, err := range onHandler(t, mux).Watch(t.Context(), "gw", "office", gateway.Revision{}) {
		return u, err
	}
	return gateway.Update{}, errors.New("nothing came")
}

// forms are the ways in which a secret may be printed.
func forms(b []byte) []string {
	quoted := fmt.Sprintf("%q", b)
	return []string{
		string(b), base64.StdEncoding.EncodeToString(b)[:40], base64.URLEncoding.EncodeToString(b)[:40],
		hex.EncodeToString(b)[:48], strings.ToUpper(hex.EncodeToString(b))[:48], quoted[1:30],
		strings.Trim(fmt.Sprintf("%d", b), "[]")[:40], strings.Trim(fmt.Sprintf("%#v", b), "[]byte{}")[:40],
		prototext(b)[:30],
	}
}

// prototext is how a message would print it.
func prototext(b []byte) string {
	text := (&pb.Peer{Preshared: b}).String()
	return text[strings.Index(text, `"`)+1:]
}

func silent(t *testing.T, where string, secrets ...[]byte) {
	t.Helper()
	for _, s := range secrets {
		for i, form := range forms(s) {
			require.NotContains(t, where, form, "form %d", i)
		}
	}
}

// Messages that are wrong around their secrets: the error says what is wrong, and not
// what is secret.
//
// proves P15: keys are not in the errors about messages that hold them.
func TestErrorsDoNotPrintKeys(t *testing.T) {
	private, preshared := gatewaytest.PrivateKey(1).Reveal(), gatewaytest.PresharedKey(1).Reveal()
	long := append(bytes.Clone(preshared[:]), preshared[:]...)
	key := gatewaytest.PrivateKey(2).Public()
	iface := func(edit func(*pb.Interface)) *pb.Update {
		i := &pb.Interface{Key: private[:], Port: 1}
		edit(i)
		return &pb.Update{To: &pb.Revision{Epoch: 1, Number: 1}, Interface: i}
	}
	row := func(edit func(*pb.Peer)) *pb.Update {
		p := &pb.Peer{Key: key[:], Preshared: preshared[:]}
		edit(p)
		return &pb.Update{To: &pb.Revision{Epoch: 1, Number: 1}, Set: []*pb.Peer{p}}
	}
	for name, u := range map[string]*pb.Update{
		"no revision":          {Interface: &pb.Interface{Key: private[:]}, Set: []*pb.Peer{{Key: key[:], Preshared: preshared[:]}}},
		"a long key":           iface(func(i *pb.Interface) { i.Key = long }),
		"a large port":         iface(func(i *pb.Interface) { i.Port = 1 << 17 }),
		"a long address":       iface(func(i *pb.Interface) { i.Addrs = [][]byte{private[:]} }),
		"a short address":      iface(func(i *pb.Interface) { i.Addrs = [][]byte{{1, 2}} }),
		"a long length":        iface(func(i *pb.Interface) { i.Masquerade = [][]byte{{1, 2, 3, 4, 33}} }),
		"a secret that floats": iface(func(i *pb.Interface) { i.Floating = [][]byte{private[:]} }),
		"a secret within":      iface(func(i *pb.Interface) { i.Inner = [][]byte{private[:]} }),
		"a short one floats":   iface(func(i *pb.Interface) { i.Floating = [][]byte{private[:5]} }),
		"a long preshared":     row(func(p *pb.Peer) { p.Preshared = long }),
		"a short public key":   row(func(p *pb.Peer) { p.Key = p.GetKey()[:31] }),
		"a secret as prefix":   row(func(p *pb.Peer) { p.AllowedIps = [][]byte{preshared[:]} }),
		"a short prefix":       row(func(p *pb.Peer) { p.AllowedIps = [][]byte{preshared[:6]} }),
		"a short endpoint":     row(func(p *pb.Peer) { p.Endpoint = preshared[:7] }),
		"a long endpoint":      row(func(p *pb.Peer) { p.Endpoint = bytes.Repeat([]byte{7}, 65) }),
		"a huge keepalive":     row(func(p *pb.Peer) { p.Keepalive = 1 << 62 }),
		"a secret to remove":   {To: &pb.Revision{Epoch: 1}, Remove: [][]byte{long}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := watchRaw(t, raw{say: []*pb.WatchResponse{{Update: u}}})
			require.ErrorIs(t, err, gatewayrpc.ErrInvalid)
			require.NotErrorIs(t, err, gatewayrpc.ErrLost)
			silent(t, fmt.Sprintf("%v\n%+v\n%#v", err, err, err.Error()), private[:], preshared[:], long)
		})
	}
	require.Contains(t, (&pb.Peer{Preshared: preshared[:]}).String(), prototext(preshared[:])[:30], "the test knows how one would be seen")
}

// What a control plane says of its own troubles stays with it.
//
// proves P15: nor is anything of the core's own in what a gateway is told.
func TestErrorsOfThePlaneKeepTheirText(t *testing.T) {
	const words = "dial tcp 10.9.8.7:5432: password hunter2"
	for _, err := range []error{
		errors.New(words),
		connect.NewError(connect.CodeNotFound, errors.New(words)),
		fmt.Errorf("%s: %w", words, gateway.ErrStale),
		fmt.Errorf("%s: %w", words, context.DeadlineExceeded),
	} {
		var log bytes.Buffer
		w := onPipes(t, &steps{err: err}, config{
			handler: gatewayrpc.HandlerConfig{Log: slog.New(slog.NewTextHandler(&log, nil))},
		})
		for _, got := range everyCall(t, w) {
			require.Error(t, got)
			require.NotContains(t, got.Error(), "hunter2")
			require.NotContains(t, got.Error(), "10.9.8.7")
			require.NotErrorIs(t, got, gatewayrpc.ErrLost, "it is not the connection's fault")
			require.Equal(t, errors.Is(err, gateway.ErrStale), errors.Is(got, gateway.ErrStale))
		}
		s, said := pb.NewGatewayServiceClient(as{"gw", w.c}, w.base).Assigned(t.Context(), &pb.AssignedRequest{Gateway: "gw"})
		require.NoError(t, said)
		require.False(t, s.Receive())
		require.Error(t, s.Err())
		require.NotContains(t, s.Err().Error(), "hunter2", "a client that shows all that it is told")
		if !errors.Is(err, gateway.ErrStale) {
			require.Contains(t, log.String(), "hunter2", "its own log has it")
			require.Contains(t, log.String(), "gateway=gw")
		}
	}
}

// everyCall makes each call once, and returns how they ended.
func everyCall(t *testing.T, plane gateway.ControlPlane) []error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var all []error
	for _, err := range plane.Watch(ctx, "gw", "office", gateway.Revision{}) {
		all = append(all, err)
	}
	for _, err := range plane.Assigned(ctx, "gw") {
		all = append(all, err)
	}
	all = append(all, plane.Report(ctx, "gw", "office", gateway.Status{Full: true}))
	require.Len(t, all, 3)
	return all
}
