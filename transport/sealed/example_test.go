package sealed_test

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfastvpn/holdfast/transport/sealed"
)

func Example() {
	key, laptop, now := sealed.NewCoreKey(), sealed.NewIdentity(), time.Now()
	core, err := sealed.NewOpener(sealed.OpenerConfig{
		Deployment: "acme", Keys: []sealed.CoreKey{key}, Start: now,
		Lookup: func(_ context.Context, id sealed.IdentityPublic) (string, error) {
			return map[sealed.IdentityPublic]string{laptop.Public(): "laptop"}[id], nil
		},
	})
	if err != nil {
		panic(err)
	}
	envelope, waiting, err := sealed.Seal(sealed.Request{
		Deployment: "acme", Core: key.Public(), Identity: laptop, At: now, Method: "greet", Body: []byte("hello"),
	})
	if err != nil {
		panic(err)
	}

	opened, err := core.Open(context.Background(), now, envelope) // after a relay has carried it
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s asks to %s: %s\n", opened.Caller.Device, opened.Method, opened.Body)
	answer, err := opened.Seal(now, []byte("good day"))
	if err != nil {
		panic(err)
	}

	got, err := waiting.Open(answer)
	fmt.Printf("%s %v\n", got.Body, err)
	_, err = core.Open(context.Background(), now, envelope) // the relay tries it again
	fmt.Println(err)
	// Output:
	// laptop asks to greet: hello
	// good day <nil>
	// sealed: refused
}
