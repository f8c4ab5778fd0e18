package clientrpc

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/holdfastvpn/holdfast/transport/sealed"
)

// AskAsStranger asks for a method as somebody who has no device.
func AskAsStranger(ctx context.Context, c *Client, method string, body []byte) error {
	return c.exchange(ctx, ask{
		method: method, stranger: true, body: func(sealed.CorePublic) ([]byte, error) { return body, nil },
	}, &emptypb.Empty{})
}

// Read reads the body of an answer.
func (c *Client) Read(body []byte) error { return c.read(body, &emptypb.Empty{}) }
