package gatewayrpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/transport/gatewayrpc"
	"github.com/holdfastvpn/holdfast/transport/gatewayrpc/internal/pb"
)

// Who asks is who the certificate says, whatever the message says.
func TestNobodyIsBelievedToBeSomebodyElse(t *testing.T) {
	plane := gatewaytest.NewPlane()
	plane.Assign("gw", "office")
	plane.Assign("thief", "office")
	plane.Put("office", gatewaytest.Config(3))
	for name, c := range map[string]struct {
		identify func(context.Context) (gateway.ID, error)
		want     error
	}{
		"another one":      {func(context.Context) (gateway.ID, error) { return "thief", nil }, gateway.ErrUnknown},
		"nobody":           {func(context.Context) (gateway.ID, error) { return "", nil }, gateway.ErrUnknown},
		"no certificate":   {func(context.Context) (gateway.ID, error) { return "gw", errors.New("hunter2") }, gateway.ErrUnknown},
		"a revoked one":    {func(context.Context) (gateway.ID, error) { return "gw", gateway.ErrRevoked }, gateway.ErrRevoked},
		"a longer one":     {func(context.Context) (gateway.ID, error) { return "gw2", nil }, gateway.ErrUnknown},
		"in another case":  {func(context.Context) (gateway.ID, error) { return "GW", nil }, gateway.ErrUnknown},
		"with a space":     {func(context.Context) (gateway.ID, error) { return "gw ", nil }, gateway.ErrUnknown},
		"the one it is":    {func(context.Context) (gateway.ID, error) { return "gw", nil }, nil},
		"nothing is asked": {nil, gateway.ErrUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			path, h := gatewayrpc.NewHandler(plane, gatewayrpc.HandlerConfig{Identify: c.identify})
			mux := http.NewServeMux()
			mux.Handle(path, h)
			w := onHandler(t, mux)
			if c.want == nil {
				require.NoError(t, w.Report(t.Context(), "gw", "office", gateway.Status{Full: true}))
				return
			}
			for _, err := range everyCall(t, w) {
				require.ErrorIs(t, err, c.want)
				require.NotContains(t, err.Error(), "hunter2")
			}
			require.Empty(t, plane.Reports("thief", "office"))
		})
	}
}

// bare is the service asked by hand.
func bare(t *testing.T, plane gateway.ControlPlane) pb.GatewayServiceClient {
	t.Helper()
	w := onPipes(t, plane, config{})
	return pb.NewGatewayServiceClient(as{"gw", w.c}, w.base)
}

func reporter() *pb.Reporter {
	return &pb.Reporter{Gateway: "gw", Location: "office", Clock: make([]byte, 16)}
}

// Nonsense is refused with a code, and no control plane hears of it.
func TestReportsThatMakeNoSense(t *testing.T) {
	sighting := func(edit func(*pb.Sighting)) *pb.ReportRequest {
		s := &pb.Sighting{Key: make([]byte, 32)}
		edit(s)
		return &pb.ReportRequest{Reporter: reporter(), Status: &pb.Status{Seen: []*pb.Sighting{s}}}
	}
	who := func(edit func(*pb.Reporter)) *pb.ReportRequest {
		r := reporter()
		edit(r)
		return &pb.ReportRequest{Reporter: r, Status: &pb.Status{}}
	}
	some := &pb.Status{Seen: []*pb.Sighting{{Key: make([]byte, 32)}}}
	for name, c := range map[string]struct {
		parts []*pb.ReportRequest
		code  connect.Code
	}{
		"nothing at all":      {nil, connect.CodeInvalidArgument},
		"no reporter":         {[]*pb.ReportRequest{{Status: &pb.Status{}}}, connect.CodePermissionDenied},
		"no status":           {[]*pb.ReportRequest{{Reporter: reporter()}}, connect.CodeInvalidArgument},
		"no clock":            {[]*pb.ReportRequest{who(func(r *pb.Reporter) { r.Clock = nil })}, connect.CodeInvalidArgument},
		"a short clock":       {[]*pb.ReportRequest{who(func(r *pb.Reporter) { r.Clock = []byte{1} })}, connect.CodeInvalidArgument},
		"a huge instant":      {[]*pb.ReportRequest{who(func(r *pb.Reporter) { r.Sent = 1 << 63 })}, connect.CodeInvalidArgument},
		"no location":         {[]*pb.ReportRequest{who(func(r *pb.Reporter) { r.Location = "" })}, connect.CodeInvalidArgument},
		"a long location":     {[]*pb.ReportRequest{who(func(r *pb.Reporter) { r.Location = strings.Repeat("x", 256) })}, connect.CodeInvalidArgument},
		"a short key":         {[]*pb.ReportRequest{sighting(func(s *pb.Sighting) { s.Key = []byte{1} })}, connect.CodeInvalidArgument},
		"a huge age":          {[]*pb.ReportRequest{sighting(func(s *pb.Sighting) { s.Heard = 1 << 63 })}, connect.CodeInvalidArgument},
		"an odd endpoint":     {[]*pb.ReportRequest{sighting(func(s *pb.Sighting) { s.Endpoint = []byte{1, 2, 3} })}, connect.CodeInvalidArgument},
		"a long endpoint":     {[]*pb.ReportRequest{sighting(func(s *pb.Sighting) { s.Endpoint = make([]byte, 65) })}, connect.CodeInvalidArgument},
		"it breaks off":       {[]*pb.ReportRequest{{Reporter: reporter(), Status: some, More: true}}, connect.CodeInvalidArgument},
		"an empty part":       {[]*pb.ReportRequest{{Reporter: reporter(), Status: some, More: true}, {Status: &pb.Status{}, More: true}}, connect.CodeInvalidArgument},
		"more than a message": {[]*pb.ReportRequest{{Reporter: reporter(), Status: &pb.Status{Failed: []*pb.Problem{{What: strings.Repeat("x", 2<<20)}}}}}, connect.CodeResourceExhausted},
	} {
		t.Run(name, func(t *testing.T) {
			plane := &steps{}
			s, err := bare(t, plane).Report(t.Context())
			require.NoError(t, err)
			for _, m := range c.parts {
				if s.Send(m) != nil {
					break // it was refused already
				}
			}
			_, err = s.CloseAndReceive()
			require.Equal(t, c.code, connect.CodeOf(err), "%v", err)
			require.Empty(t, plane.reported)
		})
	}
}

// A report, or an update, that is larger than any that makes sense is refused on the
// way, before it is all in memory.
func TestReportsWithoutEnd(t *testing.T) {
	plane := &steps{}
	s, err := bare(t, plane).Report(t.Context())
	require.NoError(t, err)
	part := &pb.ReportRequest{Reporter: reporter(), Status: &pb.Status{}, More: true}
	for range 800 {
		part.Status.Failed = append(part.GetStatus().GetFailed(), &pb.Problem{What: strings.Repeat("x", 1024)})
	}
	n := 0
	for ; s.Send(part) == nil; n++ {
		require.Less(t, n, 1000)
	}
	_, err = s.CloseAndReceive()
	require.Equal(t, connect.CodeResourceExhausted, connect.CodeOf(err), "%v", err)
	require.Empty(t, plane.reported)
}

func TestUpdatesThatMakeNoSense(t *testing.T) {
	to, key := &pb.Revision{Epoch: 1, Number: 2}, bytes.Repeat([]byte{1}, 32)
	set := []*pb.Peer{{Key: key}}
	for name, say := range map[string][]*pb.WatchResponse{
		"no update":           {{}},
		"two interfaces":      {{Update: &pb.Update{To: to, Set: set}, More: true}, {Update: &pb.Update{To: to, Interface: &pb.Interface{}, Set: set}}},
		"parts of two":        {{Update: &pb.Update{To: to, Set: set}, More: true}, {Update: &pb.Update{To: &pb.Revision{Epoch: 1, Number: 3}, Set: set}}},
		"another beginning":   {{Update: &pb.Update{To: to, Set: set}, More: true}, {Update: &pb.Update{From: to, To: to, Set: set}}},
		"an empty part":       {{Update: &pb.Update{To: to, Set: set}, More: true}, {Update: &pb.Update{To: to}}},
		"removed after set":   {{Update: &pb.Update{To: to, Set: set}, More: true}, {Update: &pb.Update{To: to, Remove: [][]byte{key}}}},
		"a peer without key":  {{Update: &pb.Update{To: to, Set: []*pb.Peer{{}}}}},
		"nothing is a key":    {{Update: &pb.Update{To: to, Remove: [][]byte{{}}}}},
		"nothing is a peer":   {{Update: &pb.Update{To: to, Set: []*pb.Peer{nil}}}},
		"a byte is no prefix": {{Update: &pb.Update{To: to, Set: []*pb.Peer{{Key: key, AllowedIps: [][]byte{{1}}}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := watchRaw(t, raw{say: say})
			require.ErrorIs(t, err, gatewayrpc.ErrInvalid)
		})
	}
	for field, list := range map[string][][]byte{
		"floating[1]": {{192, 0, 2, 9}, {192, 0, 2}}, "floating[0]": {{}}, "floating": slices.Repeat([][]byte{{192, 0, 2, 9}}, 17),
	} {
		say := []*pb.WatchResponse{{Update: &pb.Update{To: to, Interface: &pb.Interface{Floating: list}}}}
		_, err := watchRaw(t, raw{say: say})
		require.ErrorIs(t, err, gatewayrpc.ErrInvalid)
		require.ErrorContains(t, err, "interface."+field)
	}
	_, err := watchRaw(t, raw{say: []*pb.WatchResponse{
		{Update: &pb.Update{To: to, Set: []*pb.Peer{{Key: key, AllowedIps: [][]byte{make([]byte, 2<<20)}}}}},
	}})
	require.Error(t, err)
	require.Equal(t, connect.CodeResourceExhausted, connect.CodeOf(err))
	require.NotErrorIs(t, err, gatewayrpc.ErrLost)
}

// A row that no message could hold is named, and the stream ends.
func TestARowThatIsTooLarge(t *testing.T) {
	p := gatewaytest.Peer(1)
	p.AllowedIPs = append(p.AllowedIPs, gatewaytest.Prefixes(strings.Split(strings.Repeat("10.0.0.0/8 ", 16383)+"10.0.0.0/8", " ")...)...)
	u := gateway.Update{To: gateway.Revision{Epoch: 1, Number: 1}, Set: []gateway.Peer{gatewaytest.Peer(2), p}}
	_, err := gatewayrpc.AppendUpdate(nil, u)
	require.ErrorIs(t, err, gatewayrpc.ErrTooLarge)
	require.ErrorContains(t, err, p.Key.String())
	s := &steps{next: make(chan gateway.Update, 1)}
	s.next <- u
	for _, err := range onPipes(t, s, config{}).Watch(t.Context(), "gw", "office", gateway.Revision{}) {
		require.ErrorIs(t, err, gatewayrpc.ErrTooLarge)
	}
	u.Set[1].AllowedIPs = u.Set[1].AllowedIPs[:16384]
	b, err := gatewayrpc.AppendUpdate(nil, u)
	require.NoError(t, err)
	got, err := gatewayrpc.ParseUpdate(b)
	require.NoError(t, err)
	require.True(t, got.Set[1].Equal(u.Set[1]))
}

// Words that are too long are cut, not refused: a report with an odd name in it must
// not hold up all reports.
func TestTextsAreCut(t *testing.T) {
	s := gateway.Status{
		Backend: strings.Repeat("ä", 200), Version: "\xff1.2\x80",
		Failed: []gateway.Problem{{What: strings.Repeat("€", 1000)}},
		Seen:   []gateway.Sighting{{By: gateway.ID(strings.Repeat("x", 300))}, {By: "other"}},
	}
	plane := &steps{}
	require.NoError(t, onPipes(t, plane, config{}).Report(t.Context(), "gw", "office", s))
	got := plane.last()
	require.Equal(t, strings.Repeat("ä", 127), got.Backend)
	require.Equal(t, "1.2", got.Version)
	require.Equal(t, strings.Repeat("€", 341), got.Failed[0].What)
	require.Equal(t, gateway.ID(strings.Repeat("x", 255)), got.Seen[0].By)
	require.Equal(t, gateway.ID("other"), got.Seen[1].By)
}

// Nothing listens, something else listens, or something that hangs up.
func TestALostConnectionSaysSo(t *testing.T) {
	w := onPipes(t, &steps{}, config{})
	w.Cut()
	for _, err := range everyCall(t, w) {
		require.ErrorIs(t, err, gatewayrpc.ErrLost)
	}
	for _, err := range everyCall(t, onHandler(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		panic(http.ErrAbortHandler)
	}))) {
		require.ErrorIs(t, err, gatewayrpc.ErrLost)
	}
	for _, code := range []int{http.StatusNotFound, http.StatusTeapot, http.StatusForbidden} {
		for _, err := range everyCall(t, onHandler(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
		}))) {
			require.Error(t, err)
			require.NotErrorIs(t, err, gateway.ErrUnknown, "only a control plane says that")
		}
	}
	for _, err := range everyCall(t, onHandler(t, http.NotFoundHandler())) {
		require.NotErrorIs(t, err, gatewayrpc.ErrLost, "trying again does not help")
	}
}

// A deadline is a deadline at both ends.
func TestReportHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := onHandler(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := time.Now()
		err := w.Report(ctx, "gw", "office", gateway.Status{Full: true})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 10*time.Second, time.Since(began))
	})
}

func TestReasonsInOtherWires(t *testing.T) {
	for _, reason := range []error{
		gateway.ErrUnknown, gateway.ErrRevoked, gateway.ErrReplaced, gateway.ErrStale, gateway.ErrGap,
	} {
		err := gatewayrpc.ParseError(gatewayrpc.AppendError(nil, fmt.Errorf("hunter2: %w", reason)))
		require.ErrorIs(t, err, reason)
		require.NotContains(t, err.Error(), "hunter2")
	}
	other := gatewayrpc.ParseError(gatewayrpc.AppendError(nil, errors.New("hunter2")))
	require.Error(t, other)
	require.NotContains(t, other.Error(), "hunter2")
	require.ErrorIs(t, gatewayrpc.ParseError([]byte{0xff}), gatewayrpc.ErrInvalid)
}
