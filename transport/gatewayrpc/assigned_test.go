package gatewayrpc_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/transport/gatewayrpc"
	"github.com/holdfastvpn/holdfast/transport/gatewayrpc/internal/pb"
)

// rawAssigned is the service by hand: it says what it is told to, right or wrong.
type rawAssigned struct {
	pb.UnimplementedGatewayServiceHandler

	say iter.Seq[*pb.AssignedResponse]
}

func (r rawAssigned) Assigned(ctx context.Context, _ *pb.AssignedRequest, out *connect.ServerStream[pb.AssignedResponse]) error {
	for m := range r.say {
		if err := out.Send(m); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}

// assignedRaw asks a hand-made service what is assigned until something comes.
func assignedRaw(t *testing.T, say iter.Seq[*pb.AssignedResponse]) ([]gateway.Assignment, error) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(pb.NewGatewayServiceHandler(rawAssigned{say: say}))
	for list, err := range onHandler(t, mux).Assigned(t.Context(), "gw") {
		return list, err
	}
	return nil, errors.New("nothing came")
}

func says(parts ...*pb.AssignedResponse) iter.Seq[*pb.AssignedResponse] {
	return func(yield func(*pb.AssignedResponse) bool) {
		for _, m := range parts {
			if !yield(m) {
				return
			}
		}
	}
}

func TestAssignmentsThatMakeNoSense(t *testing.T) {
	of := func(location string, siblings ...*pb.Sibling) []*pb.Assignment {
		return []*pb.Assignment{{Location: location, Siblings: siblings}}
	}
	long := strings.Repeat("x", 400)
	for name, say := range map[string][]*pb.AssignedResponse{
		"no location":       {{Assignments: of("")}},
		"a long location":   {{Assignments: of(long)}},
		"nothing is one":    {{Assignments: []*pb.Assignment{nil}}},
		"an empty part":     {{Assignments: of("a"), More: true}, {}},
		"nobody is sibling": {{Assignments: of("a", &pb.Sibling{})}},
		"a long sibling":    {{Assignments: of("a", &pb.Sibling{Gateway: long})}},
		"a long address":    {{Assignments: of("a", &pb.Sibling{Gateway: "gw2", Addr: long})}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := assignedRaw(t, says(say...))
			require.ErrorIs(t, err, gatewayrpc.ErrInvalid)
		})
	}
}

// What breaks off is not told, and what has no end is refused on the way.
func TestAssignmentsWithoutEnd(t *testing.T) {
	part := &pb.AssignedResponse{More: true, Assignments: []*pb.Assignment{{Location: "a"}}}
	for n := range 2000 {
		s := &pb.Sibling{Gateway: fmt.Sprint(n), Addr: strings.Repeat("x", 320)}
		part.Assignments[0].Siblings = append(part.GetAssignments()[0].GetSiblings(), s)
	}
	sent := 0
	_, err := assignedRaw(t, func(yield func(*pb.AssignedResponse) bool) {
		for sent < 1000 && yield(part) {
			sent++
		}
	})
	require.ErrorIs(t, err, gatewayrpc.ErrTooLarge)
	require.Less(t, sent, 1000)

	mux := http.NewServeMux()
	mux.Handle(pb.NewGatewayServiceHandler(rawAssigned{say: func(yield func(*pb.AssignedResponse) bool) {
		yield(part)
		panic(http.ErrAbortHandler)
	}}))
	for list, err := range onHandler(t, mux).Assigned(t.Context(), "gw") {
		require.ErrorIs(t, err, gatewayrpc.ErrLost)
		require.Nil(t, list)
	}
}

// A later part goes on with the siblings of a location, or with another location.
func TestAssignmentsInParts(t *testing.T) {
	list, err := assignedRaw(t, says(
		newer(&pb.AssignedResponse{More: true, Assignments: []*pb.Assignment{
			newer(&pb.Assignment{Location: "a", Siblings: []*pb.Sibling{newer(&pb.Sibling{Gateway: "gw2", Addr: "192.0.2.2:7946"})}}), {Location: "b"},
		}}),
		&pb.AssignedResponse{More: true, Assignments: []*pb.Assignment{{Location: "b", Siblings: []*pb.Sibling{{Gateway: "gw2"}}}}},
		&pb.AssignedResponse{More: true, Assignments: []*pb.Assignment{{Location: "b", Siblings: []*pb.Sibling{{Gateway: "gw3"}}}}},
		&pb.AssignedResponse{Assignments: []*pb.Assignment{{Location: "c"}}},
	))
	require.NoError(t, err)
	require.Equal(t, []gateway.Assignment{
		{Location: "a", Siblings: []gateway.Sibling{{ID: "gw2", Addr: "192.0.2.2:7946"}}},
		{Location: "b", Siblings: []gateway.Sibling{{ID: "gw2"}, {ID: "gw3"}}},
		{Location: "c"},
	}, list)
}

// missing is a plane that misses a gateway.
type missing struct{ gateway.ControlPlane }

func (missing) Assigned(context.Context, gateway.ID) iter.Seq2[[]gateway.Assignment, error] {
	return func(yield func([]gateway.Assignment, error) bool) {
		yield([]gateway.Assignment{{Location: "a", Siblings: []gateway.Sibling{{ID: "gw2", Missing: true}, {ID: "gw3"}}}}, nil)
	}
}

func TestWhoIsMissingCrosses(t *testing.T) {
	for list, err := range onPipes(t, missing{}, config{}).Assigned(t.Context(), "gw") {
		require.NoError(t, err)
		require.Equal(t, []gateway.Sibling{{ID: "gw2", Missing: true}, {ID: "gw3"}}, list[0].Siblings)
		break
	}
}
