package sealed_test

import (
	"context"
	_ "embed"
	"encoding/base64"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/transport/sealed"
)

// proves P11: whoever repeats a request at the same moment, one of them is taken.
func TestOneOfManyIsTaken(t *testing.T) {
	key, device := sealed.NewCoreKey(), sealed.NewIdentity()
	o, err := sealed.NewOpener(sealed.OpenerConfig{
		Deployment: "acme", Keys: []sealed.CoreKey{key}, Start: start,
		Lookup: func(context.Context, sealed.IdentityPublic) (string, error) { return "laptop", nil },
	})
	require.NoError(t, err)
	for i := range 20 {
		now := start.Add(time.Duration(i) * time.Second)
		envelope, _, err := sealed.Seal(sealed.Request{Deployment: "acme", Core: key.Public(), Identity: device, At: now, Method: "m"})
		require.NoError(t, err)
		var took atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if opened, err := o.Open(t.Context(), now, envelope); err == nil {
					took.Add(1)
					_, _ = opened.Seal(now, nil)
				}
			})
		}
		require.NoError(t, o.SetKeys(sealed.NewCoreKey(), key))
		wg.Wait()
		require.EqualValues(t, 1, took.Load())
	}
}

//go:embed testdata/request-v1.txt
var requestV1 string

// What was sealed by the first version opens: at both ends there are programs of all
// ages. X-Wing is a draft; if the library follows another one, this says so.
func TestTheFirstVersionOpens(t *testing.T) {
	envelope, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(requestV1, "\n", ""))
	require.NoError(t, err)
	seed := []byte("0123456789abcdef0123456789abcdef")
	key, err := sealed.CoreKeyFrom(seed)
	require.NoError(t, err)
	device, err := sealed.IdentityFrom(seed)
	require.NoError(t, err)
	r := newRig(t)
	require.NoError(t, r.opener.SetKeys(key))
	r.known[device.Public()] = "old"
	got, err := r.open(t, envelope)
	require.NoError(t, err)
	require.Equal(t, []string{"old", "method", "body"}, []string{got.Caller.Device, got.Method, string(got.Body)})
	require.True(t, r.now.Equal(got.At))
}
