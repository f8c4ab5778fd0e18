package vpn

import (
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// Age is how long ago something was. In JSON it is a number of seconds, null for
// Never.
type Age time.Duration

// Never is the Age of what was not.
const Never Age = -1

// AgeOf is the Age that an instant has; that of the zero one is Never, and one to
// come was just now.
func AgeOf(t, now time.Time) Age {
	if t.IsZero() {
		return Never
	}
	return Age(max(now.Sub(t), 0))
}

// Within says whether it was, and no longer ago than d.
func (a Age) Within(d time.Duration) bool { return a >= 0 && time.Duration(a) <= d }

// String is for people: "never", "12 s", "3 min", "5 h", "9 d".
func (a Age) String() string {
	d := time.Duration(a)
	const day = 24 * time.Hour
	switch {
	case d < 0:
		return "never"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 2*day:
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return fmt.Sprintf("%d d", d/day)
}

// MarshalJSON returns seconds, to the millisecond.
func (a Age) MarshalJSON() ([]byte, error) {
	if a < 0 {
		return []byte("null"), nil
	}
	return json.Marshal(math.Round(time.Duration(a).Seconds()*1e3) / 1e3)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (a *Age) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*a = Never
		return nil
	}
	var seconds float64
	if err := json.Unmarshal(b, &seconds); err != nil || seconds < 0 || seconds > 1e9 {
		return fmt.Errorf("vpn: age %.20q: want seconds or null", b)
	}
	*a = Age(math.Round(seconds*1e3)) * Age(time.Millisecond)
	return nil
}
