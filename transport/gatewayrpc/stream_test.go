package gatewayrpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/transport/gatewayrpc"
	"github.com/holdfastvpn/holdfast/transport/gatewayrpc/internal/pb"
)

// newer gives a message, and all in it, fields of a release that is yet to come.
func newer[M proto.Message](m M) M {
	b := protowire.AppendTag(nil, 1000, protowire.BytesType)
	b = protowire.AppendString(b, "from tomorrow")
	b = protowire.AppendTag(b, 77, protowire.VarintType)
	b = protowire.AppendVarint(b, 42)
	m.ProtoReflect().SetUnknown(b)
	return m
}

// What a newer end says is understood, but for what is new.
func TestANewerEndIsUnderstood(t *testing.T) {
	want := gatewaytest.Peer(1)
	p := newer(&pb.Peer{Key: want.Key[:], Keepalive: 25})
	u, err := watchRaw(t, raw{say: []*pb.WatchResponse{newer(&pb.WatchResponse{
		Update: newer(&pb.Update{
			To: newer(&pb.Revision{Epoch: 1, Number: 2}), Interface: newer(&pb.Interface{Port: 7}), Set: []*pb.Peer{p},
		}),
	})}})
	require.NoError(t, err)
	require.Equal(t, gateway.Update{
		To: gateway.Revision{Epoch: 1, Number: 2}, Interface: &gateway.Interface{Port: 7},
		Set: []gateway.Peer{{Key: want.Key, Keepalive: 25 * time.Second}},
	}, u)

	plane := &steps{next: make(chan gateway.Update, 1)}
	c := bare(t, plane)
	s, err := c.Report(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Send(newer(&pb.ReportRequest{Reporter: newer(reporter()), Status: newer(&pb.Status{
		Epoch: 7, Failed: []*pb.Problem{newer(&pb.Problem{What: "x"})}, Seen: []*pb.Sighting{newer(&pb.Sighting{Key: want.Key[:]})},
	})})))
	_, err = s.CloseAndReceive()
	require.NoError(t, err)
	require.EqualValues(t, 7, plane.last().Epoch)
	require.Equal(t, want.Key, plane.last().Seen[0].Key)

	plane.next <- gateway.Update{To: gateway.Revision{Epoch: 1}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w, err := c.Watch(ctx)
	require.NoError(t, err)
	require.NoError(t, w.Send(newer(&pb.WatchRequest{Open: newer(open(0))})))
	require.NoError(t, w.Send(newer(&pb.WatchRequest{}))) // says something that only tomorrow knows
	require.NoError(t, w.Send(newer(&pb.WatchRequest{Credit: 1})))
	m, err := w.Receive()
	require.NoError(t, err)
	require.EqualValues(t, 1, m.GetUpdate().GetTo().GetEpoch())
}

// An error with a word of tomorrow is an error all the same, and no reason that it is
// not.
func TestANewerReason(t *testing.T) {
	_, err := watchRaw(t, raw{as: func(context.Context, *connect.BidiStream[pb.WatchRequest, pb.WatchResponse]) error {
		err := connect.NewError(connect.CodeFailedPrecondition, errors.New("the moon is full"))
		d, _ := connect.NewErrorDetail(&pb.Reason{Word: "moon"})
		err.AddDetail(d)
		return err
	}})
	require.ErrorContains(t, err, "the moon is full")
	require.NotErrorIs(t, err, gatewayrpc.ErrLost)
}

// open asks to watch, as sent at a moment.
func open(sent uint64) *pb.Open {
	return &pb.Open{Gateway: "gw", Location: "office", Clock: make([]byte, 16), Sent: sent}
}

// A request that was given up and is served late does not take over from the one that
// was made after it; that of another process does.
func TestALateRequestTakesOverFromNobody(t *testing.T) {
	plane := gatewaytest.NewPlane()
	plane.Assign("gw", "office")
	plane.Put("office", gatewaytest.Config(1))
	c := bare(t, plane)
	watch := func(o *pb.Open) func() error {
		s, err := c.Watch(t.Context())
		require.NoError(t, err)
		require.NoError(t, s.Send(&pb.WatchRequest{Open: o, Credit: 64}))
		return func() error {
			_, err := s.Receive()
			return err
		}
	}
	second := watch(open(20))
	require.NoError(t, second())
	first := watch(open(10))
	require.Equal(t, connect.CodeAborted, connect.CodeOf(first()))
	plane.SetPeer("office", gatewaytest.Peer(2))
	require.NoError(t, second(), "the late one took over")

	again := open(5)
	again.Clock = bytes.Repeat([]byte{1}, 16)
	third := watch(again)
	require.NoError(t, third())
	require.Equal(t, connect.CodeAborted, connect.CodeOf(second()))
	fourth := watch(open(15)) // the second has ended, so that there is nothing to compare with
	require.NoError(t, fourth())
	require.Equal(t, connect.CodeAborted, connect.CodeOf(third()))
}

// Nor does a report that comes late take the place of a later one.
func TestALateReportIsRefused(t *testing.T) {
	plane := &steps{}
	c := bare(t, plane)
	report := func(location string, sent uint64, clock byte) error {
		s, err := c.Report(t.Context())
		require.NoError(t, err)
		r := &pb.Reporter{Gateway: "gw", Location: location, Clock: bytes.Repeat([]byte{clock}, 16), Sent: sent}
		_ = s.Send(&pb.ReportRequest{Reporter: r, Status: &pb.Status{Epoch: sent}})
		_, err = s.CloseAndReceive()
		return err
	}
	require.NoError(t, report("office", 20, 1))
	require.Equal(t, connect.CodeAborted, connect.CodeOf(report("office", 10, 1)))
	require.EqualValues(t, 20, plane.last().Epoch)
	require.NoError(t, report("office", 20, 1), "the same again is none that is late")
	require.NoError(t, report("elsewhere", 10, 1))
	require.NoError(t, report("office", 5, 2), "another process has another clock")
	plane.err = gateway.ErrStale
	require.Error(t, report("office", 30, 2))
	plane.err = nil
	require.NoError(t, report("office", 25, 2), "what was refused is as if it had not come")
}

// counted counts how often the plane was asked for its next update.
type counted struct {
	steps

	n atomic.Int64
}

func (c *counted) Watch(ctx context.Context, _ gateway.ID, _ gateway.LocationID, _ gateway.Revision,
) iter.Seq2[gateway.Update, error] {
	return func(yield func(gateway.Update, error) bool) {
		for ctx.Err() == nil {
			n := uint64(c.n.Add(1))
			if !yield(gateway.Update{From: gateway.Revision{Epoch: 1, Number: n - 1}, To: gateway.Revision{Epoch: 1, Number: n}}, nil) {
				return
			}
		}
	}
}

// A plane with something new at all times is asked no more often than the reader takes
// updates, and no more is on the way than two.
func TestAReaderSetsThePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plane := &counted{}
		w := onPipes(t, plane, config{})
		read := int64(0)
		for _, err := range w.Watch(t.Context(), "gw", "office", gateway.Revision{}) {
			require.NoError(t, err)
			read++
			time.Sleep(time.Minute)
			synctest.Wait()
			require.LessOrEqual(t, plane.n.Load(), read+1)
			if read == 20 {
				break
			}
		}
		synctest.Wait()
		require.LessOrEqual(t, plane.n.Load(), int64(21))

		c := pb.NewGatewayServiceClient(as{"gw", w.c}, w.base)
		plane.n.Store(0)
		s, err := c.Watch(t.Context())
		require.NoError(t, err)
		require.NoError(t, s.Send(&pb.WatchRequest{Open: open(0)}))
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Zero(t, plane.n.Load(), "nobody said that it takes one")
		require.NoError(t, s.Send(&pb.WatchRequest{Credit: 3}))
		synctest.Wait()
		require.EqualValues(t, 3, plane.n.Load())
		require.NoError(t, s.CloseRequest()) // who takes no more, ever, has left
		for err = error(nil); err == nil; {
			_, err = s.Receive()
		}
		require.NotErrorIs(t, err, io.EOF)
	})
}

// silenced is a connection that stops carrying anything, without a word.
type silenced struct {
	net.Conn

	off *atomic.Bool
}

func (s silenced) Write(b []byte) (int, error) {
	if s.off.Load() {
		return len(b), nil
	}
	return s.Conn.Write(b)
}

// On a link that goes silent, pings end an idle watch at both ends.
func TestAnIdleWatchNoticesThatTheOtherEndHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const after, answer = 2 * time.Second, 2 * time.Second
		var off atomic.Bool
		pings := &http.HTTP2Config{SendPingTimeout: after, PingTimeout: answer, WriteByteTimeout: after + answer}
		near, far := net.Pipe()
		l := &pipes{conns: make(chan net.Conn, 1), done: make(chan struct{})}
		l.conns <- silenced{far, &off}
		plane := &leaving{left: make(chan struct{})}
		srv := &http.Server{Handler: config{}.serve(plane), Protocols: protocols(), HTTP2: pings, ReadHeaderTimeout: time.Minute}
		go func() { _ = srv.Serve(l) }()
		tr := &http.Transport{Protocols: protocols(), HTTP2: pings, DialContext: func(context.Context, string, string) (net.Conn, error) {
			return silenced{near, &off}, nil
		}}
		defer func() { _ = srv.Close() }()
		defer tr.CloseIdleConnections()
		w := everybody{&http.Client{Transport: tr}, "http://core", gatewayrpc.ClientConfig{}}

		var silent time.Time
		ended := make(chan error, 1)
		go func() {
			for _, err := range w.Watch(t.Context(), "gw", "office", gateway.Revision{}) {
				if err != nil {
					ended <- err
				}
			}
		}()
		time.Sleep(time.Minute) // idle, and alive
		synctest.Wait()
		require.Empty(t, ended)
		silent = time.Now()
		off.Store(true)
		require.ErrorIs(t, <-ended, gatewayrpc.ErrLost)
		<-plane.left
		require.LessOrEqual(t, time.Since(silent), after+answer)
	})
}

// leaving is a plane with one idle watch.
type leaving struct {
	steps

	left chan struct{}
}

func (l *leaving) Watch(ctx context.Context, _ gateway.ID, _ gateway.LocationID, _ gateway.Revision,
) iter.Seq2[gateway.Update, error] {
	return func(yield func(gateway.Update, error) bool) {
		defer close(l.left)
		if yield(gateway.Update{To: gateway.Revision{Epoch: 1}}, nil) {
			<-ctx.Done()
		}
	}
}
