package wgmodel_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
)

// Each of these was measured on the kernel's WireGuard, with its virtual clock; the
// bounds are the least and the most that was seen.
func TestWhatWasMeasuredOfOutages(t *testing.T) {
	for name, test := range map[string]struct {
		o           options
		play        func(r *rig) time.Duration
		least, most time.Duration
	}{
		"the address moves, and nobody does anything": {
			options{}, talking(func(r *rig) { r.move(0, 1) }), ms(15000), ms(15520),
		},
		"the same behind a NAT, with keepalives": {
			options{nat: true, keepalive: 25 * second}, talking(func(r *rig) { r.move(0, 1) }), ms(15000), ms(15520),
		},
		"the survivor speaks first": {
			options{nat: true}, talking(func(r *rig) { r.takeOver(0, 1) }), 0, ms(11),
		},
		"back after 2 s to one that kept its session": {
			options{nat: true}, talking(func(r *rig) {
				r.takeOver(0, 1)
				r.after(2 * second)
				r.takeOver(1, 0)
			}), ms(13000), ms(13520),
		},
		"back after 8 s to one that kept its session": {
			options{nat: true}, talking(func(r *rig) {
				r.takeOver(0, 1)
				r.after(8 * second)
				r.takeOver(1, 0)
			}), ms(7000), ms(7520),
		},
		"back after 2 s to one that forgot": {
			options{nat: true}, talking(func(r *rig) {
				r.takeOver(0, 1)
				r.gw[0].forget(r.t)
				r.after(2 * second)
				r.takeOver(1, 0)
			}), 0, ms(11),
		},
		"the survivor speaks 50 ms before it has the address": {
			options{nat: true}, talking(func(r *rig) { r.tooEarly(ms(50)) }), ms(5000), ms(5600),
		},
		"it forgets, and speaks again": {
			options{nat: true}, talking(func(r *rig) {
				place := r.tooEarly(ms(50))
				r.gw[1].forget(r.t)
				r.gw[1].kick(r.t, place)
			}), ms(50), ms(61),
		},
		"the NAT has forgotten": {
			options{nat: true}, talking(func(r *rig) {
				r.nat.Forget()
				r.takeOver(0, 1)
			}), ms(15000), ms(15520),
		},
		"the survivor's clock is 3 s behind, and the other one had spoken first": {
			options{nat: true}, func(r *rig) time.Duration {
				r.spokenFirst()
				r.gw[1].host.SetClock(-3 * second)
				r.takeOver(0, 1)
				return r.outage(30 * second)
			}, ms(5000), ms(5600),
		},
		"60 s behind": {
			options{nat: true}, func(r *rig) time.Duration {
				r.spokenFirst()
				r.gw[1].host.SetClock(-60 * second)
				r.takeOver(0, 1)
				return r.outage(30 * second)
			}, ms(15000), ms(15560),
		},
		"60 s behind, and the other one never spoke first": {
			options{nat: true}, talking(func(r *rig) {
				r.gw[1].host.SetClock(-60 * second)
				r.takeOver(0, 1)
			}), 0, ms(20),
		},
		"the survivor speaks from its own address, without a NAT": {
			options{}, func(r *rig) time.Duration {
				r.talking(7 * second)
				r.gw[1].Meddle(func(s *gateway.State) { s.Sourced = false })
				r.takeOver(0, 1)
				out := r.outage(30 * second)
				require.NotEqual(r.t, public, r.c.Place(), "the client has not gone where it should not")
				return out
			}, 0, ms(11),
		},
		"the survivor speaks from its own address, behind a NAT": {
			options{nat: true}, talking(func(r *rig) {
				r.gw[1].Meddle(func(s *gateway.State) { s.Sourced = false })
				r.takeOver(0, 1)
			}), ms(15000), ms(15520),
		},
		"removed, and set again after 2 s": {
			options{nat: true}, func(r *rig) time.Duration {
				r.talking(7 * second)
				r.absent(2 * second)
				return r.outage(30*second) - 2*second
			}, ms(13000), ms(13560),
		},
		"removed, and set again after 20 s": {
			options{nat: true}, func(r *rig) time.Duration {
				r.talking(7 * second)
				r.absent(20 * second)
				return r.outage(30*second) - 20*second
			}, 0, ms(5400),
		},
		"late, and the client sets its peer again": {
			options{nat: true}, talking(func(r *rig) {
				r.absent(2 * second)
				r.c.Measure()
				r.c.Reset()
			}), 0, ms(11),
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(5) {
				o := test.o
				o.seed = seed
				play(t, o, func(r *rig) { r.within(test.play(r), test.least, test.most, "the outage") })
			}
		})
	}
}

// talking plays while the client talks, and says for how long it heard nothing.
func talking(play func(r *rig)) func(r *rig) time.Duration {
	return func(r *rig) time.Duration {
		r.talking(7 * second)
		play(r)
		return r.outage(30 * second)
	}
}

// takeOver moves the address, and has the survivor speak first.
func (r *rig) takeOver(from, to int) {
	place := r.gw[from].peer(r.t).Endpoint
	r.move(from, to)
	r.gw[to].kick(r.t, place)
}

// tooEarly has the second gateway speak to the client, at the place that it returns, for
// so long before the address is there.
func (r *rig) tooEarly(by time.Duration) netip.AddrPort {
	place := r.gw[0].peer(r.t).Endpoint
	r.gw[0].host.Have(floating, false)
	r.gw[1].kick(r.t, place)
	r.after(by)
	r.gw[1].host.Have(floating, true)
	return place
}

// absent removes the client from its gateway, and sets it again later.
func (r *rig) absent(d time.Duration) {
	r.gw[0].do(r.t, gateway.Step{Verb: gateway.Remove, Peer: r.gw[0].row})
	r.after(d)
	r.gw[0].set(r.t)
}

// spokenFirst has the client talk in a session that the first gateway began.
func (r *rig) spokenFirst() {
	r.talking(5 * second)
	place := r.gw[0].peer(r.t).Endpoint
	r.gw[0].forget(r.t)
	r.gw[0].kick(r.t, place)
	r.after(2 * second)
	r.c.Measure()
}

// A client asks from the start, and the gateway hears of it later.
func TestWhatWasMeasuredOfLateAdds(t *testing.T) {
	for late, want := range map[int]int{0: 5, 1: 5010, 100: 5010, 1000: 5010, 2500: 5010, 4900: 5010, 5500: 10020, 9000: 10020} {
		t.Run(fmt.Sprint(late), func(t *testing.T) {
			play(t, options{late: true, nat: true}, func(r *rig) {
				if late == 0 {
					r.gw[0].set(t)
				}
				r.c.AskEvery(ms(5))
				r.c.Measure()
				r.after(ms(late))
				if late > 0 {
					r.gw[0].set(t)
				}
				r.within(r.outage(12*second), ms(want-5), ms(want), "since the first packet")
			})
		})
	}
}

// A preshared key that is changed on one side ends nothing before the session has had
// its time.
func TestWhatWasMeasuredOfPresharedKeys(t *testing.T) {
	for _, age := range []int{5, 45, 85} {
		for _, both := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d s, both %v", age, both), func(t *testing.T) {
				play(t, options{}, func(r *rig) {
					began := time.Now()
					r.talking(time.Duration(age) * second)
					key := presharedOf(9)
					r.gw[0].row.Preshared = key
					r.gw[0].set(t)
					if both {
						r.c.SetPreshared(key)
					}
					r.after(300*second - time.Since(began))
					last, _ := r.c.Answered()
					if both {
						r.within(r.c.Outage(), 0, ms(10), "the outage")
						return
					}
					r.within(last.Sub(began), 180*second-ms(10), 180*second, "the last answer")
				})
			})
		}
	}
}

// How old the handshake gets, and when there is a new one.
func TestWhatWasMeasuredOfHandshakes(t *testing.T) {
	for name, test := range map[string]struct {
		o         options
		ask       time.Duration
		kick      bool // the gateway begins the session
		gateway   time.Duration
		intervals []int
	}{
		"idle, keepalive 25":                    {options{keepalive: 25 * second}, 0, false, 0, []int{143, 133, 133, 133}},
		"idle, keepalive 25, the gateway began": {options{keepalive: 25 * second}, 0, true, 0, []int{170, 186, 133}},
		"data each second":                      {options{}, second, false, 0, []int{120, 120, 120, 120}},
		"data each 170 s, no keepalive":         {options{}, 170 * second, false, 0, []int{170, 170}},
		"idle, no keepalive":                    {options{}, 0, false, 0, nil},
		"idle, keepalive only on the gateway":   {options{}, 0, false, 25 * second, []int{170, 186}},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, test.o, func(r *rig) {
				if test.ask > 0 {
					r.c.AskEvery(test.ask)
				} else {
					r.c.Ask()
				}
				r.after(second)
				if test.kick {
					place := r.gw[0].peer(t).Endpoint
					r.gw[0].forget(t)
					r.gw[0].kick(t, place)
					r.after(second)
					r.c.Ask()
				}
				r.gw[0].row.Keepalive = test.gateway
				r.gw[0].set(t)
				last := r.gw[0].peer(t).Handshake
				var have []int
				for range 620 {
					r.after(second)
					if now := r.gw[0].peer(t).Handshake; !now.Equal(last) {
						have = append(have, int(now.Sub(last).Round(second)/second))
						last = now
					}
				}
				t.Log(have)
				for i, want := range test.intervals {
					if i >= len(have) {
						t.Fatalf("handshakes after %v s, want %v", have, test.intervals)
					}
					r.within(time.Duration(have[i])*second, time.Duration(want-2)*second, time.Duration(want+2)*second, fmt.Sprint("interval ", i))
				}
				if test.intervals == nil && len(have) > 0 {
					t.Fatalf("handshakes after %v s, want none", have)
				}
			})
		})
	}
}

// What the gateway receives of an idle client with keepalive 25: see the sample of
// experiments, from second to bytes.
func TestWhatWasMeasuredOfBytes(t *testing.T) {
	play(t, options{keepalive: 25 * second}, func(r *rig) {
		r.c.Ask()
		var base uint64
		want := map[int]uint64{20: 0, 60: 32, 80: 64, 100: 96, 120: 128, 140: 128, 160: 340, 180: 372, 200: 404, 240: 436, 260: 468, 280: 680}
		for s := 1; s <= 280; s++ {
			r.after(second)
			p := r.gw[0].peer(t)
			if s == 20 {
				base = p.Rx
			}
			if grown, ok := want[s]; ok && p.Rx-base != grown {
				t.Errorf("after %d s %d bytes more, want %d", s, p.Rx-base, grown)
			}
		}
	})
}

// An idle client is noticed when it makes its next handshake.
func TestWhatWasMeasuredOfIdleClients(t *testing.T) {
	for _, age := range []int{5, 50, 100} {
		play(t, options{keepalive: 25 * second, nat: true}, func(r *rig) {
			r.c.Ask()
			r.after(time.Duration(age) * second)
			r.move(0, 1)
			moved := time.Now()
			for range 2000 {
				r.gw[1].Send(someone)
				r.after(ms(100))
				if r.c.Reached().After(moved) {
					break
				}
			}
			took := r.c.Reached().Sub(moved)
			r.within(took, time.Duration(142-age-2)*second, time.Duration(142-age+2)*second, fmt.Sprintf("reached, age %d", age))
		})
	}
}
