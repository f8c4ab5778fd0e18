package adminrpc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/transport/adminrpc"
	"github.com/holdfastvpn/holdfast/transport/adminrpc/internal/pb"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/memstore"
	"github.com/holdfastvpn/holdfast/vpn/seal"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// methods are all that the API has.
func methods() (all []string) {
	for _, f := range []protoreflect.FileDescriptor{
		pb.File_holdfast_admin_v1_location_proto, pb.File_holdfast_admin_v1_device_proto, pb.File_holdfast_admin_v1_gateway_proto,
		pb.File_holdfast_admin_v1_owner_proto, pb.File_holdfast_admin_v1_overview_proto, pb.File_holdfast_admin_v1_event_proto,
		pb.File_holdfast_admin_v1_token_proto, pb.File_holdfast_admin_v1_core_proto, pb.File_holdfast_admin_v1_common_proto,
	} {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				all = append(all, fmt.Sprintf("/%s/%s", s.FullName(), s.Methods().Get(j).Name()))
			}
		}
	}
	return all
}

// files of proto/ and of this list of descriptors are the same.
func TestEveryFileOfTheAPIIsLookedAt(t *testing.T) {
	files, err := filepath.Glob("../../proto/holdfast/admin/v1/*.proto")
	require.NoError(t, err)
	require.Len(t, files, 9, "list its descriptor in methods, too")
}

func TestEveryMethodSaysWhichRoleItNeeds(t *testing.T) {
	all := methods()
	require.Len(t, all, len(adminrpc.Needs))
	for _, m := range all {
		role, there := adminrpc.Needs[m]
		require.True(t, there, "%s has no row in roles.go", m)
		// Who may only look, may not do what is not looking.
		verb := m[strings.LastIndexByte(m, '/')+1:]
		looks := false
		for _, v := range []string{"Get", "List", "Watch", "Follow"} {
			looks = looks || strings.HasPrefix(verb, v)
		}
		if role != adminrpc.Admin {
			require.True(t, looks && role == adminrpc.ReadOnly, "%s needs only %q", m, role)
		}
	}
}

// overTCP serves the rig's API without a socket, as after TLS.
func (r *rig) overTCP() (base string) {
	server := httptest.NewUnstartedServer(r.handler)
	server.Config = adminrpc.NewServer(r.handler)
	server.Start()
	r.t.Cleanup(server.Close)
	return server.URL
}

func (r *rig) token(role adminrpc.Role, lifetime time.Duration) (adminrpc.Token, adminrpc.Secret) {
	r.t.Helper()
	token, secret, err := r.root.CreateToken(r.t.Context(), adminrpc.Token{Name: "carol", Role: role}, lifetime)
	require.NoError(r.t, err)
	return token, secret
}

// Every method is called by everybody.
func TestWhoMayDoWhat(t *testing.T) {
	r := newRig(t)
	base := r.overTCP()
	_, admin := r.token(adminrpc.Admin, 0)
	_, reader := r.token(adminrpc.ReadOnly, 0)
	revoked, gone := r.token(adminrpc.Admin, 0)
	require.NoError(t, r.root.RevokeToken(t.Context(), revoked.ID))
	call := func(method, auth string) (status int, code string) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		kind, body := "application/json", []byte("{}")
		if strings.Contains(method, "/Watch") || strings.Contains(method, "/Follow") {
			kind, body = "application/connect+json", append([]byte{0, 0, 0, 0, 2}, "{}"...)
		}
		q, err := http.NewRequestWithContext(ctx, http.MethodPost, base+method, bytes.NewReader(body))
		require.NoError(t, err)
		q.Header.Set("Content-Type", kind)
		if auth != "" {
			q.Header.Set("Authorization", auth)
		}
		res, err := http.DefaultClient.Do(q)
		require.NoError(t, err)
		defer func() { _ = res.Body.Close() }()
		if kind != "application/json" {
			var head [5]byte
			_, err := io.ReadFull(res.Body, head[:])
			require.NoError(t, err)
			if head[0]&2 == 0 {
				return 200, ""
			}
		}
		var e struct {
			Code  string `json:"code"`
			Error struct {
				Code string `json:"code"`
			} `json:"error"`
		}
		_ = json.NewDecoder(res.Body).Decode(&e)
		return res.StatusCode, e.Code + e.Error.Code
	}
	for _, m := range methods() {
		for name, auth := range map[string]string{
			"nobody": "", "revoked": "Bearer " + gone.Reveal(), "nonsense": "Bearer holdfast_api_x",
			"basic": "Basic " + admin.Reveal(), "another": "Bearer holdfast_api_" + strings.Repeat("A", 43),
		} {
			_, code := call(m, auth)
			require.Equal(t, "unauthenticated", code, "%s by %s", m, name)
		}
		_, code := call(m, "Bearer "+reader.Reveal())
		require.Equal(t, adminrpc.Needs[m] == adminrpc.Admin, code == "permission_denied", "%s by who may look: %s", m, code)
		_, code = call(m, "Bearer "+admin.Reveal())
		require.NotContains(t, []string{"permission_denied", "unauthenticated"}, code, m)
	}
	status, _ := call("/holdfast.admin.v1.DeviceService/Nothing", "Bearer "+admin.Reveal())
	require.Equal(t, http.StatusNotFound, status)
	require.NotContains(t, r.log.String(), "holdfast_api_")
}

func TestATokenActsByItsName(t *testing.T) {
	r := newRig(t)
	token, secret := r.token(adminrpc.Admin, time.Hour)
	c, err := adminrpc.Dial(adminrpc.DialConfig{Core: r.overTCP(), Token: secret})
	require.NoError(t, err)
	_, err = c.AddDevice(t.Context(), peer.NewDevice{Name: "laptop", Key: wgkey.NewPrivate().Public()})
	require.NoError(t, err)
	all, err := c.Events(t.Context(), vpn.EventFilter{})
	require.NoError(t, err)
	require.Equal(t, "token.created device.added carol 127.0.0.1", all[0].What+" "+all[1].What+" "+all[1].By+" "+all[1].From)

	list, err := c.Tokens(t.Context())
	require.NoError(t, err)
	require.Equal(t, []adminrpc.Token{token}, list)
	me, err := user.Current()
	require.NoError(t, err)
	require.Equal(t, me.Username, token.By)

	bare, err := adminrpc.Dial(adminrpc.DialConfig{Core: r.overTCP()})
	require.NoError(t, err)
	_, err = bare.Tokens(t.Context())
	require.ErrorIs(t, err, adminrpc.ErrToken)
	_, secret = r.token(adminrpc.ReadOnly, 0)
	bare, err = adminrpc.Dial(adminrpc.DialConfig{Core: r.overTCP(), Token: secret})
	require.NoError(t, err)
	_, err = bare.Tokens(t.Context())
	require.ErrorIs(t, err, adminrpc.ErrDenied)
}

func TestAStreamEndsWithItsToken(t *testing.T) {
	r := newRig(t)
	token, secret := r.token(adminrpc.ReadOnly, 0)
	c, err := adminrpc.Dial(adminrpc.DialConfig{Core: r.overTCP(), Token: secret})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ended := make(chan error, 2)
	began := make(chan struct{})
	go func() {
		first := true
		for _, err := range c.WatchOverview(ctx) {
			if err != nil {
				ended <- err
			}
			if first {
				close(began)
				first = false
			}
		}
	}()
	go func() {
		for _, err := range c.FollowEvents(ctx, vpn.EventFilter{What: "nothing"}) {
			ended <- err
		}
	}()
	<-began
	require.NoError(t, r.root.RevokeToken(ctx, token.ID))
	require.ErrorIs(t, <-ended, adminrpc.ErrToken)
	require.ErrorIs(t, <-ended, adminrpc.ErrToken)
}

// It proves P15: of a token only a hash is kept, and none prints.
func TestTokensAreKeptAsHashes(t *testing.T) {
	r := newRig(t)
	_, secret := r.token(adminrpc.Admin, 0)
	rows, err := r.stores.Records().List(t.Context(), "", "", 0)
	require.NoError(t, err)
	all := fmt.Sprintf("%q", rows)
	require.Contains(t, all, "account/token/")
	require.NotContains(t, all, secret.Reveal()[len("holdfast_api_"):])
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Info("made", "secret", secret)
	text := fmt.Sprintf("%v %+v %#v %s %q %x", secret, secret, secret, secret, secret, secret) + b.String()
	require.NotContains(t, text, secret.Reveal()[:20])
	_, err = json.Marshal(secret)
	require.Error(t, err)
}

func TestTokensEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := memstore.New().Records()
		s, err := adminrpc.NewTokens(adminrpc.TokensConfig{Records: records})
		require.NoError(t, err)
		_, secret, err := s.Create(t.Context(), adminrpc.Token{Name: "ci", Role: adminrpc.ReadOnly}, time.Hour)
		require.NoError(t, err)
		time.Sleep(time.Hour - 1)
		_, err = s.Check(t.Context(), secret)
		require.NoError(t, err)
		time.Sleep(time.Nanosecond)
		_, err = s.Check(t.Context(), secret)
		require.ErrorIs(t, err, adminrpc.ErrToken)
		require.ErrorContains(t, err, "it expired at")

		_, secret, err = s.Create(t.Context(), adminrpc.Token{Name: "ci", Role: adminrpc.ReadOnly}, 0)
		require.NoError(t, err)
		time.Sleep(10_000 * time.Hour)
		_, err = s.Check(t.Context(), secret)
		require.NoError(t, err)
		_, err = s.Check(t.Context(), adminrpc.Secret{})
		require.ErrorIs(t, err, adminrpc.ErrToken)
		for name, bad := range map[string]adminrpc.Token{
			"Name": {Name: " ", Role: adminrpc.Admin}, "Role": {Name: "x", Role: "root"},
		} {
			_, _, err := s.Create(t.Context(), bad, 0)
			var field *location.FieldError
			require.ErrorAs(t, err, &field)
			require.Equal(t, name, field.Field)
		}
	})
}

func TestTheSocket(t *testing.T) {
	r := newRig(t)
	info, err := os.Stat(r.socket)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	_, err = adminrpc.ListenUnix(t.Context(), r.socket)
	require.ErrorContains(t, err, "another process answers there")
	_, err = r.root.Locations(t.Context())
	require.NoError(t, err, "the socket was left alone")

	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = adminrpc.ListenUnix(t.Context(), file)
	require.ErrorContains(t, err, "which is no socket")

	left := filepath.Join(t.TempDir(), "left.sock")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", left)
	require.NoError(t, err)
	l.(*net.UnixListener).SetUnlinkOnClose(false) //nolint:errcheck // it is one
	require.NoError(t, l.Close())
	l, err = adminrpc.ListenUnix(t.Context(), left)
	require.NoError(t, err)
	require.NoError(t, l.Close())

	// Who is at the other end is asked of the system, and nobody else's word counts.
	for uid, want := range map[int]int{0: http.StatusOK, os.Geteuid(): http.StatusOK, 54321: http.StatusUnauthorized} {
		w := httptest.NewRecorder()
		q := httptest.NewRequestWithContext(adminrpc.AsUser(t.Context(), uint32(uid)), http.MethodPost, "/holdfast.admin.v1.LocationService/ListLocations", strings.NewReader("{}"))
		q.Header.Set("Content-Type", "application/json")
		r.handler.ServeHTTP(w, q)
		require.Equal(t, want, w.Code, "user %d", uid)
	}
	w := httptest.NewRecorder()
	q := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/holdfast.admin.v1.LocationService/ListLocations", strings.NewReader("{}"))
	q.RemoteAddr = "@"
	q.Header.Set("Content-Type", "application/json")
	r.handler.ServeHTTP(w, q)
	require.Equal(t, http.StatusUnauthorized, w.Code)
}

func TestDialChecks(t *testing.T) {
	for core, want := range map[string]string{
		"":                        "write it like",
		"/run/core.sock":          "write it like",
		"unix://run/core.sock":    "a socket has a whole path",
		"http://192.0.2.1:80":     "must not cross a network in the open",
		"http://core.example.org": "must not cross a network in the open",
		"https://":                "has no host",
		"https://u:hunter2@host":  "or with a user",
		"https://host?x":          "is not an address",
		"ftp://host":              "write it like",
	} {
		_, err := adminrpc.Dial(adminrpc.DialConfig{Core: core})
		require.ErrorContains(t, err, want, core)
		require.NotContains(t, err.Error(), "hunter2")
	}
	c, err := adminrpc.Dial(adminrpc.DialConfig{Core: "unix:///nowhere/core.sock"})
	require.NoError(t, err)
	_, err = c.Locations(t.Context())
	require.ErrorIs(t, err, adminrpc.ErrAway)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Requests of any size end.
func TestSizesAreBounded(t *testing.T) {
	r := newRig(t)
	n := peer.NewDevice{Name: strings.Repeat("x", 200), Key: wgkey.NewPrivate().Public()}
	for range 200 {
		n.Places = append(n.Places, peer.Place{Location: "somewhere", Routes: prefixes(many(400)...)})
	}
	all := make([]peer.NewDevice, 10)
	for i := range all {
		all[i] = n
	}
	_, err := r.root.ImportDevices(t.Context(), all, true)
	require.Error(t, err)
	var ce *connect.Error
	require.NotErrorAs(t, err, &ce)
	require.ErrorContains(t, err, "larger than configured max")
}

func many(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("172.%d.%d.0/24", 16+i/256, i%256))
	}
	return out
}

// Every error that callers branch on crosses.
func TestEveryErrorOfTheDomainHasAWord(t *testing.T) {
	for dir, pkg := range map[string]string{"../../location": "location", "../../peer": "peer", ".": "adminrpc"} {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, "errors.go"), nil, 0)
		require.NoError(t, err)
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, s := range g.Specs {
				name := s.(*ast.ValueSpec).Names[0].Name //nolint:errcheck // of a var
				if !ast.IsExported(name) || name == "ErrAway" {
					continue
				}
				text := strings.ToLower(strings.TrimPrefix(name, "Err"))
				found := false
				for _, w := range adminrpc.Words() {
					w = strings.ReplaceAll(w, "_", "")
					found = found || w == pkg+"."+text || pkg == "adminrpc" && w == text
				}
				require.True(t, found, "%s.%s has no word in errors.go", pkg, name)
			}
		}
	}
}

func FuzzParseSecret(f *testing.F) {
	f.Add("holdfast_api_" + strings.Repeat("A", 43))
	f.Add("holdfast_api_" + strings.Repeat("-", 43) + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := adminrpc.ParseSecret(text)
		if err != nil {
			require.ErrorIs(t, err, adminrpc.ErrToken)
			return
		}
		require.Equal(t, strings.TrimSpace(text), s.Reveal())
		again, err := adminrpc.ParseSecret(s.Reveal())
		require.NoError(t, err)
		require.Equal(t, s.Reveal(), again.Reveal())
	})
}

// FuzzHandler sends anything to any method.
func FuzzHandler(f *testing.F) {
	core, err := vpn.New(vpn.Config{Stores: memstore.New(), Keys: seal.Ephemeral()})
	require.NoError(f, err)
	h, err := adminrpc.NewHandler(adminrpc.Config{Core: core, Confirm: time.Nanosecond, Settle: time.Nanosecond})
	require.NoError(f, err)
	all := methods()
	for i, body := range []string{
		`{"location":{"name":"x","host":"h","networks":["10.0.0.0/8"]}}`, `{"device":{"name":"x","publicKey":"AA"},"updateMask":"name,owner"}`, `{"id":"x","place":{"location":"x"}}`,
	} {
		f.Add(uint8(i), []byte(body))
	}
	f.Fuzz(func(t *testing.T, n uint8, body []byte) {
		m := all[int(n)%len(all)]
		if strings.Contains(m, "/Watch") || strings.Contains(m, "/Follow") {
			return
		}
		q := httptest.NewRequestWithContext(t.Context(), http.MethodPost, m, bytes.NewReader(body))
		q = q.WithContext(adminrpc.AsUser(t.Context(), 0))
		q.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, q)
		require.NotEqual(t, http.StatusInternalServerError, w.Code, "%s %s: %s", m, body, w.Body)
	})
}
