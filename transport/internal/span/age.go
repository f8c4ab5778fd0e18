package span

import "time"

// maxAge is the largest age that fits into a time.Duration, in microseconds.
const maxAge = 9e15

// Age returns how long ago t was, in microseconds, rounded up, and one more; 0 for the
// zero time. What lies ahead is of now.
func Age(t, now time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	age := max(now.Sub(t), 0)
	return min(uint64((age+time.Microsecond-1)/time.Microsecond)+1, maxAge)
}

// Instant is the one that was an Age before now, whatever the number.
func Instant(age uint64, now time.Time) time.Time {
	if age == 0 {
		return time.Time{}
	}
	return now.Add(-time.Duration(min(age-1, maxAge)) * time.Microsecond)
}
