package peer_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

const writers = 16

// together runs f in as many goroutines as there are writers, beginning at once.
func together(f func(writer int)) {
	var wg sync.WaitGroup
	gate := make(chan struct{})
	for i := range writers {
		wg.Go(func() {
			<-gate
			f(i)
		})
	}
	close(gate)
	wg.Wait()
}

// taken returns all addresses of a location, in order, and fails if one is there
// twice, unusable, or overlaps a route.
func taken(t *testing.T, w *world, at location.ID) []netip.Addr {
	t.Helper()
	l, err := w.locations.Get(t.Context(), at)
	require.NoError(t, err)
	devices, err := w.store.List(t.Context(), peer.Filter{Location: at})
	require.NoError(t, err)
	var all []netip.Addr
	var claims []netip.Prefix
	keys := map[wgkey.Public]bool{}
	for _, d := range devices {
		require.False(t, keys[d.Key], "a key has two devices")
		keys[d.Key] = true
		p, _ := d.At(at)
		require.NoError(t, p.Fits(l))
		all = append(all, p.Addrs...)
		claims = append(claims, p.AllowedIPs()...)
	}
	slices.SortFunc(claims, netip.Prefix.Compare)
	for i := 1; i < len(claims); i++ { // in this order what overlaps is side by side
		require.False(t, claims[i-1].Overlaps(claims[i]), "%s and %s", claims[i-1], claims[i])
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all
}

// proves P10: cores that know nothing of one another give no address twice, and
// leave no gaps to speak of.
func TestManyCoresGiveEachAddressOnce(t *testing.T) {
	const each = 40
	w := newWorld(t, "10.20.0.0/16", "fd20::/64")
	branch := w.location(t, "branch", "10.30.0.0/16")
	together(func(int) {
		s := w.service(t)
		for range each {
			if _, err := s.Add(t.Context(), laptopAt(w.office, branch)); err != nil {
				t.Errorf("add: %v", err)
				return
			}
		}
	})
	const devices = writers * each
	all := taken(t, w, w.office)
	require.Len(t, all, 2*devices)
	require.Len(t, taken(t, w, branch), devices)
	// 10.20.0.2 is the first of them, so this one is the last if there is no gap.
	ideal := netip.AddrFrom4([4]byte{10, 20, byte((devices + 1) >> 8), byte((devices + 1) & 255)})
	highest := all[devices-1]
	require.LessOrEqual(t, index(highest)-index(ideal), devices/10, "the highest address is %s, without gaps it were %s", highest, ideal)
}

// index is how many addresses of the office come before a.
func index(a netip.Addr) int {
	b := a.As4()
	return int(b[2])<<8 | int(b[3])
}

// proves P10: whatever cores do at once, a location's addresses and routes stay
// apart, and each address that is not in use can be given again.
func TestManyCoresInRandomHistories(t *testing.T) {
	const steps = 60
	w := newWorld(t, "10.20.0.0/22", "fd20::/64")
	var done atomic.Int32
	together(func(writer int) {
		r := rand.New(rand.NewPCG(1, uint64(writer)))
		s := w.service(t)
		var mine []peer.DeviceID
		for range steps {
			var err error
			switch {
			case len(mine) == 0 || r.IntN(3) == 0:
				n := laptopAt(w.office)
				if r.IntN(3) == 0 {
					n.Places[0].Addrs = []netip.Addr{netip.AddrFrom4([4]byte{10, 20, 0, byte(2 + r.IntN(40))})}
				}
				if r.IntN(3) == 0 {
					p, _ := netip.AddrFrom4([4]byte{192, 168, byte(r.IntN(32)), 0}).Prefix(19 + r.IntN(6))
					n.Places[0].Routes = []netip.Prefix{p}
				}
				var d peer.Device
				if d, err = s.Add(t.Context(), n); err == nil {
					mine = append(mine, d.ID)
				}
			case r.IntN(3) == 0:
				i := r.IntN(len(mine))
				err = s.Delete(t.Context(), mine[i])
				mine = slices.Delete(mine, i, i+1)
			case r.IntN(2) == 0:
				_, err = s.Leave(t.Context(), mine[r.IntN(len(mine))], w.office)
			default:
				place := peer.Place{Location: w.office}
				if r.IntN(2) == 0 {
					place.Addrs = []netip.Addr{netip.AddrFrom4([4]byte{10, 20, 0, byte(2 + r.IntN(40))})}
				}
				_, err = s.Place(t.Context(), mine[r.IntN(len(mine))], place)
			}
			if err != nil && !errors.Is(err, peer.ErrAddressTaken) {
				t.Errorf("writer %d: %v", writer, err)
				return
			}
			done.Add(1)
		}
	})
	require.EqualValues(t, writers*steps, done.Load())
	taken(t, w, w.office)

	// All that is left can be given: nothing was lost on the way.
	s := w.service(t)
	n := 0
	for ; ; n++ {
		_, err := s.Add(t.Context(), laptopAt(w.office))
		if errors.Is(err, peer.ErrExhausted) {
			break
		}
		require.NoError(t, err)
	}
	v4 := 0
	for _, a := range taken(t, w, w.office) {
		if a.Is4() {
			v4++
		}
	}
	require.Equal(t, 1024-3, v4, "network, gateway and broadcast are not given")
	require.Positive(t, n)
}

// proves P10: of many that want the same, one gets it, and the others are told
// who has it.
func TestManyCoresRaceForOneThing(t *testing.T) {
	w := newWorld(t, "10.20.0.0/16")
	for round := range 10 {
		key := wgkey.NewPrivate().Public()
		for what, c := range map[string]struct {
			edit func(writer int, n *peer.NewDevice)
			lost error
		}{
			"key":     {func(_ int, n *peer.NewDevice) { n.Key = key }, peer.ErrKeyTaken},
			"address": {func(_ int, n *peer.NewDevice) { n.Places[0].Addrs = addrs(fmt.Sprint("10.20.9.", round)) }, peer.ErrAddressTaken},
			"routes": {func(i int, n *peer.NewDevice) {
				p, _ := netip.AddrFrom4([4]byte{192, 168, byte(8 * round), 0}).Prefix(21 + (i+round)%4)
				n.Places[0].Routes = []netip.Prefix{p}
			}, peer.ErrAddressTaken},
		} {
			var won atomic.Int32
			together(func(i int) {
				n := laptopAt(w.office)
				c.edit(i, &n)
				_, err := w.service(t).Add(t.Context(), n)
				var field *peer.FieldError
				switch {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, c.lost) || !errors.As(err, &field):
					t.Errorf("%s: the loser is told why: %v", what, err)
				}
			})
			require.EqualValues(t, 1, won.Load(), what)
		}
	}
	taken(t, w, w.office)
}

// counting is a store that counts how often it is listed, and says that every
// address is taken for some time.
type counting struct {
	peer.Store
	lists, updates atomic.Int64
	refuse         int64
}

func (s *counting) List(ctx context.Context, f peer.Filter) ([]peer.Device, error) {
	s.lists.Add(1)
	return s.Store.List(ctx, f)
}

func (s *counting) Update(ctx context.Context, id peer.DeviceID, edit func(*peer.Device) error) (peer.Device, error) {
	if n := s.updates.Add(1); n <= s.refuse {
		return peer.Device{}, peer.ErrAddressTaken
	}
	return s.Store.Update(ctx, id, edit)
}

// Adding devices reads the location's devices once, not once a device; and a
// core that was away while others added many catches up with one more look.
func TestAddListsOnce(t *testing.T) {
	w := newWorld(t, "10.20.0.0/16")
	c := &counting{Store: w.store}
	w.store = c
	s := w.service(t)
	for range 50 {
		add(t, s, laptopAt(w.office))
	}
	require.EqualValues(t, 1, c.lists.Load())
	require.EqualValues(t, 50, c.updates.Load(), "one write each")

	other := w.service(t)
	for range 50 {
		add(t, other, laptopAt(w.office))
	}
	c.lists.Store(0)
	c.updates.Store(0)
	add(t, s, laptopAt(w.office))
	require.EqualValues(t, 1, c.lists.Load())
	require.LessOrEqual(t, c.updates.Load(), int64(20))
	require.Len(t, taken(t, w, w.office), 101)
}

// contrary is a store that says of every second write that an address is taken.
type contrary struct {
	*counting
	n atomic.Int64
}

func (s *contrary) Update(ctx context.Context, id peer.DeviceID, edit func(*peer.Device) error) (peer.Device, error) {
	if s.n.Add(1)%2 == 1 {
		return peer.Device{}, peer.ErrAddressTaken
	}
	return s.counting.Update(ctx, id, edit)
}

// Meeting somebody now and then is no reason to read everything again.
func TestOnlyManyCollisionsInARowCauseAnotherLook(t *testing.T) {
	w := newWorld(t, "10.20.0.0/16")
	c := &contrary{counting: &counting{Store: w.store}}
	w.store = c
	s := w.service(t)
	for range 30 {
		add(t, s, laptopAt(w.office))
	}
	require.EqualValues(t, 1, c.lists.Load())
}

// Those who come first at the same time share one look at the store.
func TestTheFirstLookIsShared(t *testing.T) {
	w := newWorld(t, "10.20.0.0/16")
	c := &counting{Store: w.store}
	w.store = &slowList{c}
	s := w.service(t)
	together(func(int) {
		if _, err := s.Add(t.Context(), laptopAt(w.office)); err != nil {
			t.Errorf("add: %v", err)
		}
	})
	require.EqualValues(t, 1, c.lists.Load())
	require.EqualValues(t, writers, c.updates.Load())
	taken(t, w, w.office)
}

// slowList is a store whose lists let others in.
type slowList struct{ peer.Store }

func (s *slowList) List(ctx context.Context, f peer.Filter) ([]peer.Device, error) {
	for range 100 {
		runtime.Gosched()
	}
	return s.Store.List(ctx, f)
}

// An address that is being written is not given again, although the store does
// not have it yet when it is looked at.
func TestWhatIsBeingWrittenIsNotGivenAgain(t *testing.T) {
	w := newWorld(t, "10.20.0.0/24")
	c := &counting{Store: w.store}
	held := &heldWrite{Store: c, entered: make(chan struct{}), release: make(chan struct{})}
	w.store = held
	s := w.service(t)
	first := make(chan error, 1)
	go func() {
		_, err := s.Add(t.Context(), laptopAt(w.office))
		first <- err
	}()
	<-held.entered
	_, err := w.rules.Update(t.Context(), w.office, func(l *location.Location) error { // a reason to look again
		l.Reserved = prefixes("10.20.0.128/25")
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, addrs("10.20.0.3"), add(t, s, laptopAt(w.office)).Peers[0].Addrs)
	close(held.release)
	require.NoError(t, <-first)
	require.EqualValues(t, 2, c.updates.Load(), "nobody met anybody")
	require.EqualValues(t, 2, c.lists.Load())
}

// heldWrite is a store whose first write waits.
type heldWrite struct {
	peer.Store
	entered, release chan struct{}
	once             sync.Once
}

func (s *heldWrite) Update(ctx context.Context, id peer.DeviceID, edit func(*peer.Device) error) (peer.Device, error) {
	first := false
	s.once.Do(func() { first = true })
	if first {
		close(s.entered)
		<-s.release
	}
	return s.Store.Update(ctx, id, edit)
}

// A store that refuses everything is given up on.
func TestAddEndsWithAStoreThatRefusesEverything(t *testing.T) {
	w := newWorld(t, "fd20::/64")
	w.store = &counting{Store: w.store, refuse: 1 << 62}
	_, err := w.service(t).Add(t.Context(), laptopAt(w.office))
	require.ErrorIs(t, err, peer.ErrAddressTaken)
	require.ErrorContains(t, err, "gave up after")
}

// Waiting for somebody else's look at the store ends with the context.
func TestWaitingForThePoolEndsWithTheContext(t *testing.T) {
	w := newWorld(t, "10.20.0.0/16")
	slow := &stalled{Store: w.store, entered: make(chan struct{}), release: make(chan struct{})}
	w.store = slow
	s := w.service(t)
	first := make(chan error, 1)
	go func() {
		_, err := s.Add(t.Context(), laptopAt(w.office))
		first <- err
	}()
	<-slow.entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Add(ctx, laptopAt(w.office))
	require.ErrorIs(t, err, context.Canceled)
	close(slow.release)
	require.NoError(t, <-first)
}

// stalled is a store whose first list waits.
type stalled struct {
	peer.Store
	entered, release chan struct{}
	once             sync.Once
}

func (s *stalled) List(ctx context.Context, f peer.Filter) ([]peer.Device, error) {
	s.once.Do(func() {
		close(s.entered)
		<-s.release
	})
	return s.Store.List(ctx, f)
}
