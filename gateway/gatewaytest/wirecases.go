package gatewaytest

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

type wireCase struct {
	name string
	test func(tb testing.TB, link Link)
}

// wireCases are about what lies between a plane and its gateways.
func wireCases() []wireCase {
	return []wireCase{
		{"every reason crosses", reasonsCross},
		{"every field of an update crosses", updatesCross},
		{"every field of an assignment crosses", assignmentsCross},
		{"every field of a report crosses", reportsCross},
		{"who asks, where and with which revision crosses", questionsCross},
		{"a reader who has gone is noticed at the other end", goneReader},
		{"an update of any size crosses as one", crowdCrosses},
		{"a report of any size crosses as one", crowdReports},
		{"an assignment of any size crosses as one", crowdAssigned},
		{"a plane that is stale says so, and is gone on with later", staleAndBack},
		{"another history begins in the middle of a stream", anotherHistory},
	}
}

// stub is a control plane that says what its fields say.
type stub struct {
	err     error
	updates []gateway.Update
	at      [][]gateway.Assignment
	report  func(gateway.ID, gateway.LocationID, gateway.Status)
	watched func(gateway.ID, gateway.LocationID, gateway.Revision)
	left    chan struct{} // closed when a watch ends
}

func (s *stub) Assigned(ctx context.Context, _ gateway.ID) iter.Seq2[[]gateway.Assignment, error] {
	return func(yield func([]gateway.Assignment, error) bool) {
		for _, list := range s.at {
			if !yield(list, nil) {
				return
			}
		}
		if s.err != nil {
			yield(nil, s.err)
			return
		}
		<-ctx.Done()
	}
}

func (s *stub) Watch(ctx context.Context, id gateway.ID, at gateway.LocationID, have gateway.Revision,
) iter.Seq2[gateway.Update, error] {
	return func(yield func(gateway.Update, error) bool) {
		if s.left != nil {
			defer close(s.left)
		}
		if s.watched != nil {
			s.watched(id, at, have)
		}
		for _, u := range s.updates {
			if !yield(u, nil) {
				return
			}
		}
		if s.err != nil {
			yield(gateway.Update{}, s.err)
			return
		}
		<-ctx.Done()
	}
}

func (s *stub) Report(_ context.Context, id gateway.ID, at gateway.LocationID, st gateway.Status) error {
	if s.report != nil {
		s.report(id, at, st)
	}
	return s.err
}

func reasonsCross(tb testing.TB, link Link) {
	all := []error{
		gateway.ErrUnknown, gateway.ErrRevoked, gateway.ErrReplaced, gateway.ErrStale, gateway.ErrGap,
	}
	for _, reason := range all {
		plane := link(tb, &stub{err: fmt.Errorf("somewhere far away: %w", reason)})
		refused(tb, plane, "gw", "office", reason)
		err := follow(tb, plane, "gw", "office", gateway.Config{}).end()
		for _, other := range all {
			if other != reason { //nolint:errorlint // is it the same one
				require.NotErrorIs(tb, err, other)
			}
		}
	}
	plane := link(tb, &stub{err: fmt.Errorf("something else")})
	err := follow(tb, plane, "gw", "office", gateway.Config{}).end()
	require.Error(tb, err)
	for _, reason := range all {
		require.NotErrorIs(tb, err, reason)
	}
}

// equal compares all fields; instants may be a little off, since wires carry
// ages.
func equal(tb testing.TB, want, got any) {
	tb.Helper()
	require.Empty(tb, cmp.Diff(want, got,
		cmpopts.EquateComparable(wgkey.Private{}, wgkey.Preshared{}, netip.Prefix{}, netip.Addr{}, netip.AddrPort{}),
		cmpopts.EquateApproxTime(2*time.Second), cmpopts.EquateEmpty()))
}

func updatesCross(tb testing.TB, link Link) {
	n := 0
	full := filled[gateway.Update](tb, &n)
	updates := []gateway.Update{
		full,
		{From: full.To, To: gateway.Revision{Epoch: 1<<64 - 1, Number: 1<<64 - 1}},
		{To: full.To, Interface: &gateway.Interface{}},
		{To: full.To, Set: []gateway.Peer{{Key: wgkey.Public{1}}}},
	}
	f := follow(tb, link(tb, &stub{updates: updates}), "gw", "office", gateway.Config{})
	for _, want := range updates {
		equal(tb, want, f.next())
	}
	require.Nil(tb, updates[1].Interface)
}

func assignmentsCross(tb testing.TB, link Link) {
	n := 0
	said := [][]gateway.Assignment{
		{filled[gateway.Assignment](tb, &n), {Location: "text z"}},
		{},
		{{Location: "b", Siblings: []gateway.Sibling{{ID: "gw2"}}}},
	}
	r := assigned(tb, link(tb, &stub{at: said}), "gw")
	for _, want := range said {
		equal(tb, want, r.next())
	}
}

func reportsCross(tb testing.TB, link Link) {
	n := 0
	for _, want := range []gateway.Status{filled[gateway.Status](tb, &n), {}} {
		var got gateway.Status
		s := &stub{report: func(id gateway.ID, at gateway.LocationID, s gateway.Status) {
			got = s
			if id != "gw" || at != "office" {
				got = gateway.Status{Version: "it is somebody else's"}
			}
		}}
		require.NoError(tb, link(tb, s).Report(tb.Context(), "gw", "office", want))
		equal(tb, want, got)
	}
}

func questionsCross(tb testing.TB, link Link) {
	type question struct {
		ID       gateway.ID
		Location gateway.LocationID
		Have     gateway.Revision
	}
	asked := make(chan question, 1)
	plane := link(tb, &stub{watched: func(id gateway.ID, at gateway.LocationID, have gateway.Revision) {
		asked <- question{id, at, have}
	}})
	want := question{"gw", "office", gateway.Revision{Epoch: 1 << 63, Number: 7}}
	follow(tb, plane, want.ID, want.Location, gateway.Config{Revision: want.Have})
	t := time.NewTimer(soon)
	defer t.Stop()
	select {
	case got := <-asked:
		require.Equal(tb, want, got)
	case <-t.C:
		tb.Fatalf("nobody was asked within %v", soon)
	}
}

func goneReader(tb testing.TB, link Link) {
	n := 0
	s := &stub{updates: []gateway.Update{filled[gateway.Update](tb, &n)}, left: make(chan struct{})}
	f := follow(tb, link(tb, s), "gw", "office", gateway.Config{})
	f.next()
	f.cancel()
	_ = f.end()
	wait(tb, s.left, "nobody noticed that the reader has gone")
}

// filled returns a value in which every field has something, each another thing,
// so that a field which is new can not be forgotten.
func filled[T any](tb testing.TB, n *int) T {
	tb.Helper()
	var v T
	fill(tb, reflect.ValueOf(&v).Elem(), n)
	return v
}

func fill(tb testing.TB, v reflect.Value, n *int) {
	tb.Helper()
	*n++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Now().Add(-time.Duration(*n) * time.Minute).UTC().Round(0)))
		return
	case time.Duration:
		v.SetInt(int64(time.Duration(*n) * time.Second))
		return
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(*n), 1}), 32)))
		return
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.AddrFrom4([4]byte{198, 51, 100, byte(*n)})))
		return
	case netip.AddrPort:
		v.Set(reflect.ValueOf(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(*n)}), uint16(*n))))
		return
	case wgkey.Public:
		v.Set(reflect.ValueOf(PrivateKey(*n).Public()))
		return
	case wgkey.Private:
		v.Set(reflect.ValueOf(PrivateKey(*n)))
		return
	case wgkey.Preshared:
		v.Set(reflect.ValueOf(PresharedKey(*n)))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("text " + strconv.Itoa(*n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(tb, v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(tb, v.Index(i), n)
		}
	case reflect.Struct:
		for _, f := range v.Fields() {
			fill(tb, f, n)
		}
	default:
		tb.Fatalf("gatewaytest: say how to fill a %v", v.Type())
	}
}
