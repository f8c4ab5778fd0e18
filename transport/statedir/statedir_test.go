package statedir_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/transport"
	"github.com/holdfastvpn/holdfast/transport/statedir"
	"github.com/holdfastvpn/holdfast/transport/transporttest"
)

func open(t *testing.T, path string) *statedir.Dir {
	t.Helper()
	d, err := statedir.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

func TestCredentialsThereAndBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "state")
	d := open(t, path)
	_, err := d.Credentials()
	require.ErrorIs(t, err, fs.ErrNotExist, "it has not joined")

	key, err := d.JoinKey()
	require.NoError(t, err)
	again, err := d.JoinKey()
	require.NoError(t, err)
	require.Equal(t, key, again, "a join that was cut off goes on with the same key")

	acme := transporttest.New(t, "acme", nil)
	for range 2 {
		c := acme.Member(t, transport.Gateway, "gw1").Get()
		require.NoError(t, d.SaveCredentials(c))
		got, err := d.Credentials()
		require.NoError(t, err)
		require.Equal(t, c.Key(), got.Key())
		require.Equal(t, c.Leaf(), got.Leaf())
		require.Equal(t, c.Roots(), got.Roots())
	}
	entries, err := os.ReadDir(path)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode(), e.Name())
		names = append(names, e.Name())
	}
	require.Equal(t, []string{"identity.pem", "lock"}, names, "the key to join with is gone, and nothing is left over")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
	require.Error(t, d.SaveCredentials(transport.Credentials{}))
}

func TestADirectoryThatIsNotOursAloneIsRefused(t *testing.T) {
	refused := func(path, text string) {
		t.Helper()
		_, err := statedir.Open(path)
		require.ErrorIs(t, err, statedir.ErrUnsafe)
		require.ErrorContains(t, err, text)
	}
	dir := t.TempDir()
	readable := filepath.Join(dir, "readable")
	require.NoError(t, os.Mkdir(readable, 0o700))
	require.NoError(t, os.Chmod(readable, 0o750))
	refused(readable, "has mode 0750: take the rights of others away with: chmod go= ")
	target, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	require.NoError(t, os.Mkdir(target, 0o700))
	require.NoError(t, os.Symlink(target, link))
	refused(link, "is no directory")
	if os.Geteuid() == 0 {
		foreign := filepath.Join(dir, "foreign")
		require.NoError(t, os.Mkdir(foreign, 0o700))
		require.NoError(t, os.Chown(foreign, 1234, -1))
		refused(foreign, "belongs to user 1234, and this process runs as 0")
	}
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := statedir.Open(file)
	require.Error(t, err)
	_, err = statedir.Open("")
	require.Error(t, err)
}

func TestOneProcessAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	d := open(t, path)
	_, err := statedir.Open(path)
	require.ErrorIs(t, err, statedir.ErrInUse)
	require.ErrorContains(t, err, "another process runs with it")
	require.NoError(t, d.Close())
	require.ErrorIs(t, d.Write("x", nil), os.ErrClosed)
	require.NoError(t, open(t, path).Write("x", nil))
}

func TestAFileThatIsNotOursAloneIsNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	d := open(t, path)
	require.NoError(t, d.Write("snapshot", []byte("one")))
	require.NoError(t, d.Write("snapshot", []byte("two")))
	got, err := d.Read("snapshot")
	require.NoError(t, err)
	require.Equal(t, "two", string(got))
	require.NoError(t, os.Chmod(filepath.Join(path, "snapshot"), 0o644))
	_, err = d.Read("snapshot")
	require.ErrorIs(t, err, statedir.ErrUnsafe)
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(path, "other")))
	_, err = d.Read("other")
	require.ErrorIs(t, err, statedir.ErrUnsafe)
	require.NoError(t, d.Remove("snapshot"))
	require.NoError(t, d.Remove("snapshot"))
	for _, bad := range []string{"", ".", "..", "a/b", "../x", ".new", "lock"} {
		require.Error(t, d.Write(bad, nil), bad)
		_, err := d.Read(bad)
		require.Error(t, err, bad)
	}
}

func TestDamageIsNamedAndQuotesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	d := open(t, path)
	acme := transporttest.New(t, "acme", nil)
	require.NoError(t, d.SaveCredentials(acme.Member(t, transport.Gateway, "gw1").Get()))
	file := filepath.Join(path, "identity.pem")
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	for n := 0; n < len(whole)-1; n += 16 {
		require.NoError(t, os.WriteFile(file, whole[:n], 0o600))
		_, err := d.Credentials()
		require.ErrorIs(t, err, statedir.ErrDamaged, n)
		require.NotContains(t, err.Error(), string(whole[40:60]))
	}
	_, err = d.JoinKey()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(path, "join-key.pem"), []byte("x"), 0o600))
	_, err = d.JoinKey()
	require.ErrorIs(t, err, statedir.ErrDamaged)
}
