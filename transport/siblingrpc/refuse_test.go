package siblingrpc_test

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/siblingrpc"
	"github.com/holdfastvpn/holdfast/transport/siblingrpc/internal/pb"
)

func opened(edit func(*pb.Open)) *pb.TalkRequest {
	o := &pb.Open{Location: "office"}
	edit(o)
	return &pb.TalkRequest{Open: o, Words: &pb.Words{Credit: 2}}
}

func sent() *pb.Sent { return &pb.Sent{Clock: make([]byte, 16)} }

// told is a request with a part of a note.
func told(p *pb.Part) *pb.TalkRequest { return &pb.TalkRequest{Words: &pb.Words{Part: p}} }

func seen(edit func(*pb.Sightings)) *pb.TalkRequest {
	s := &pb.Sightings{Keys: make([]byte, 64)}
	edit(s)
	return told(&pb.Part{Sent: sent(), Note: &pb.Note{Full: true, Seen: s}})
}

func flowing(edit func(*pb.Flows)) *pb.TalkRequest {
	f := &pb.Flows{Began: []byte{0, 0, 0, 0}}
	edit(f)
	return told(&pb.Part{Sent: sent(), Note: &pb.Note{Flows: f}})
}

// Nonsense is refused with a code, and no gateway hears of it.
func TestNonsenseIsRefused(t *testing.T) {
	open := opened(func(*pb.Open) {})
	some := &pb.Note{Seen: &pb.Sightings{Keys: make([]byte, 32)}}
	empty := told(&pb.Part{Sent: sent(), Note: &pb.Note{}})
	for name, c := range map[string]struct {
		say  []*pb.TalkRequest
		code connect.Code
	}{
		"it is not opened":      {[]*pb.TalkRequest{{Words: &pb.Words{Credit: 1}}}, connect.CodeInvalidArgument},
		"no location":           {[]*pb.TalkRequest{opened(func(o *pb.Open) { o.Location = "" })}, connect.CodeInvalidArgument},
		"a long location":       {[]*pb.TalkRequest{opened(func(o *pb.Open) { o.Location = strings.Repeat("x", 256) })}, connect.CodeInvalidArgument},
		"it is opened twice":    {[]*pb.TalkRequest{open, open}, connect.CodeInvalidArgument},
		"much credit":           {[]*pb.TalkRequest{open, {Words: &pb.Words{Credit: 17}}}, connect.CodeInvalidArgument},
		"no note":               {[]*pb.TalkRequest{open, told(&pb.Part{Sent: sent()})}, connect.CodeInvalidArgument},
		"sent at no time":       {[]*pb.TalkRequest{open, told(&pb.Part{Note: &pb.Note{}})}, connect.CodeInvalidArgument},
		"a short clock":         {[]*pb.TalkRequest{open, told(&pb.Part{Sent: &pb.Sent{Clock: []byte{1}}, Note: &pb.Note{}})}, connect.CodeInvalidArgument},
		"a huge instant":        {[]*pb.TalkRequest{open, told(&pb.Part{Sent: &pb.Sent{Clock: make([]byte, 16), At: 1 << 63}, Note: &pb.Note{}})}, connect.CodeInvalidArgument},
		"half a key":            {[]*pb.TalkRequest{open, seen(func(s *pb.Sightings) { s.Keys = s.GetKeys()[:33] })}, connect.CodeInvalidArgument},
		"too many ages":         {[]*pb.TalkRequest{open, seen(func(s *pb.Sightings) { s.Heard = []uint64{1, 2, 3} })}, connect.CodeInvalidArgument},
		"too few counters":      {[]*pb.TalkRequest{open, seen(func(s *pb.Sightings) { s.Rx = []uint64{1} })}, connect.CodeInvalidArgument},
		"too few endpoints":     {[]*pb.TalkRequest{open, seen(func(s *pb.Sightings) { s.Endpoints = []byte{0} })}, connect.CodeInvalidArgument},
		"too many endpoints":    {[]*pb.TalkRequest{open, seen(func(s *pb.Sightings) { s.Endpoints = []byte{0, 0, 0} })}, connect.CodeInvalidArgument},
		"half an endpoint":      {[]*pb.TalkRequest{open, seen(func(s *pb.Sightings) { s.Endpoints = []byte{0, 6, 1} })}, connect.CodeInvalidArgument},
		"an odd endpoint":       {[]*pb.TalkRequest{open, seen(func(s *pb.Sightings) { s.Endpoints = []byte{0, 3, 1, 2, 3} })}, connect.CodeInvalidArgument},
		"endpoints of nobody":   {[]*pb.TalkRequest{open, seen(func(s *pb.Sightings) { s.Keys, s.Endpoints = nil, []byte{0} })}, connect.CodeInvalidArgument},
		"an odd address":        {[]*pb.TalkRequest{open, told(&pb.Part{Sent: sent(), Note: &pb.Note{Owns: [][]byte{{1, 2, 3}}}})}, connect.CodeInvalidArgument},
		"a second beginning":    {[]*pb.TalkRequest{open, told(&pb.Part{Sent: sent(), Note: some, More: true}), told(&pb.Part{Sent: sent(), Note: some})}, connect.CodeInvalidArgument},
		"a later part is ready": {[]*pb.TalkRequest{open, told(&pb.Part{Sent: sent(), Note: some, More: true}), told(&pb.Part{Note: &pb.Note{Ready: true, Seen: some.GetSeen()}})}, connect.CodeInvalidArgument},
		"an empty part":         {[]*pb.TalkRequest{open, told(&pb.Part{Sent: sent(), Note: some, More: true}), told(&pb.Part{Note: &pb.Note{}, More: true})}, connect.CodeInvalidArgument},
		"an odd connection":     {[]*pb.TalkRequest{open, flowing(func(f *pb.Flows) { f.Began[0] = 2 })}, connect.CodeInvalidArgument},
		"half a connection":     {[]*pb.TalkRequest{open, flowing(func(f *pb.Flows) { f.Ended = []byte{1, 0, 0} })}, connect.CodeInvalidArgument},
		"a connection in a zone": {[]*pb.TalkRequest{open, flowing(func(f *pb.Flows) {
			b, _ := netip.MustParseAddrPort("[fe80::1%eth0]:7").MarshalBinary()
			f.Began = append([]byte{0, 0, 0, byte(len(b))}, b...)
		})}, connect.CodeInvalidArgument},
		"an odd inner address": {[]*pb.TalkRequest{open, flowing(func(f *pb.Flows) { f.Here = [][]byte{{1}} })}, connect.CodeInvalidArgument},
		"many inner addresses": {[]*pb.TalkRequest{open, flowing(func(f *pb.Flows) { f.Here = make([][]byte, 65) })}, connect.CodeInvalidArgument},
		"many connections":     {[]*pb.TalkRequest{open, flowing(func(f *pb.Flows) { f.Began = make([]byte, 237569) })}, connect.CodeInvalidArgument},
		"a later part has all connections": {[]*pb.TalkRequest{
			open, told(&pb.Part{Sent: sent(), Note: some, More: true}), told(&pb.Part{Note: &pb.Note{Flows: &pb.Flows{Full: true, Began: []byte{0, 0, 0, 0}}}}),
		}, connect.CodeInvalidArgument},
		"more than asked for": {[]*pb.TalkRequest{open, empty, empty, empty, empty, empty}, connect.CodeInvalidArgument},
		"a large message":     {[]*pb.TalkRequest{open, seen(func(s *pb.Sightings) { s.Keys = make([]byte, 2<<20) })}, connect.CodeResourceExhausted},
	} {
		t.Run(name, func(t *testing.T) {
			far := gatewaytest.NewSibling("gw1")
			far.Deaf("office", true)
			l := onLink(t, gatewaytest.TalkEnd{ID: "gw1"}, gatewaytest.TalkEnd{ID: "gw2", Talker: far})
			links, _ := l.client.Links()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			s, err := pb.NewSiblingServiceClient(links[0].HTTP(), transport.BaseURL).Talk(ctx)
			require.NoError(t, err)
			for _, m := range c.say {
				if s.Send(m) != nil {
					break // it was refused already
				}
			}
			for err == nil {
				_, err = s.Receive()
			}
			require.Equal(t, c.code, connect.CodeOf(err), "%v", err)
			require.NoError(t, s.CloseRequest())
			_ = s.CloseResponse()
			_, n := far.Heard("office", "gw1")
			require.Zero(t, n)
			require.Eventually(t, func() bool { return far.Alive() == 0 }, 10*time.Second, time.Millisecond)
		})
	}
}

// A note without end is refused on the way, before it is all in memory.
func TestANoteWithoutEnd(t *testing.T) {
	far := gatewaytest.NewSibling("gw1")
	l := onLink(t, gatewaytest.TalkEnd{ID: "gw1"}, gatewaytest.TalkEnd{ID: "gw2", Talker: far})
	links, _ := l.client.Links()
	s, err := pb.NewSiblingServiceClient(links[0].HTTP(), transport.BaseURL).Talk(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Send(opened(func(*pb.Open) {})))
	part := &pb.Part{Sent: sent(), Note: &pb.Note{Seen: &pb.Sightings{Keys: make([]byte, 4096*32)}}, More: true}
	n := 0
	for ; s.Send(told(part)) == nil; n++ {
		part.Sent = nil
		require.Less(t, n, 1000)
	}
	for err == nil {
		_, err = s.Receive()
	}
	require.Equal(t, connect.CodeResourceExhausted, connect.CodeOf(err), "%v", err)
	require.Greater(t, n, 100)
	_ = s.CloseRequest()
	_ = s.CloseResponse()
}

// Who asks is who the link says, and on a link of somebody else than a gateway it is
// nobody.
func TestOnlyAGatewayOnALinkIsTalkedWith(t *testing.T) {
	for name, ctx := range map[string]context.Context{
		"no link": t.Context(),
		"a core":  transport.WithPeer(t.Context(), transport.Peer{Identity: transport.Identity{Deployment: "acme", Role: transport.Core, ID: "gw1"}}),
	} {
		_, err := siblingrpc.PeerOf(ctx)
		require.ErrorIs(t, err, gateway.ErrUnknown, name)
	}
	for name, c := range map[string]struct {
		identify func(context.Context) (gateway.ID, error)
		is       error
	}{
		"nobody":        {func(context.Context) (gateway.ID, error) { return "", nil }, gateway.ErrUnknown},
		"an error":      {func(context.Context) (gateway.ID, error) { return "gw1", errors.New("hunter2") }, gateway.ErrUnknown},
		"revoked":       {func(context.Context) (gateway.ID, error) { return "gw1", gateway.ErrRevoked }, gateway.ErrRevoked},
		"somebody else": {func(context.Context) (gateway.ID, error) { return "gw9", nil }, gateway.ErrUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := gatewaytest.NewSibling("gw2"), gatewaytest.NewSibling("gw1")
			l := onHandler(t, gatewaytest.TalkEnd{ID: "gw1", Talker: near}, gatewaytest.TalkEnd{ID: "gw2"}, func(cfg siblingrpc.Config) http.Handler {
				cfg.Identify = c.identify
				_, h := siblingrpc.NewHandler(far, cfg)
				return h
			})
			err := l.Talk(t.Context(), "office")
			require.ErrorIs(t, err, c.is)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

// Something else is there, or something that hangs up.
func TestALostConversationSaysSo(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"it hangs up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"it is gone":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
	} {
		t.Run(name, func(t *testing.T) {
			near := gatewaytest.NewSibling("gw2")
			l := onHandler(t, gatewaytest.TalkEnd{ID: "gw1", Talker: near}, gatewaytest.TalkEnd{ID: "gw2"}, func(siblingrpc.Config) http.Handler { return h })
			require.ErrorIs(t, l.Talk(t.Context(), "office"), siblingrpc.ErrLost)
		})
	}
}
