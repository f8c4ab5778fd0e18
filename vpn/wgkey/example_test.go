package wgkey_test

import (
	"fmt"

	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

func Example() {
	private, err := wgkey.ParsePrivate("yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=") // from wg(8)
	if err != nil {
		panic(err)
	}
	fmt.Println("public: ", private.Public())
	fmt.Println("private:", private)
	// Output:
	// public:  HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=
	// private: (secret)
}

// A secret cannot be stored by mistake: it would be lost.
func ExamplePrivate_MarshalText() {
	_, err := wgkey.NewPrivate().MarshalText()
	fmt.Println(err)
	// Output: wgkey: a secret does not marshal: seal it, or Reveal it
}
