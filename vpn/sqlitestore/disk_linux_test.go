package sqlitestore_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/vpn"
	"github.com/holdfastvpn/holdfast/vpn/sqlitestore"
)

// diskEnv says that this process has mounts of its own.
const diskEnv = "HOLDFAST_TEST_DISK"

// onDisk runs the test again in a process that may mount, and there does the
// test with a disk of its own.
func onDisk(t *testing.T, size string, test func(t *testing.T, disk string)) {
	t.Helper()
	if os.Getenv(diskEnv) == "" {
		again(t)
		return
	}
	disk := t.TempDir()
	require.NoError(t, syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	require.NoError(t, syscall.Mount("tmpfs", disk, "tmpfs", 0, "mode=700,size="+size))
	defer func() { require.NoError(t, syscall.Unmount(disk, syscall.MNT_DETACH)) }()
	test(t, disk)
}

func again(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), diskEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if len(out) == 0 && err != nil { // it never began
		if os.Getenv(testnet.RequireEnv) == "all" {
			t.Fatalf("no mounts of our own: %v", err)
		}
		t.Skipf("no mounts of our own: %v; run as root, or allow user namespaces", err)
	}
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)
}

// A real disk without room: writes fail with a reason, looking goes on, nothing is
// half-done, and with room again the same store goes on.
func TestFullDisk(t *testing.T) {
	onDisk(t, "3m", func(t *testing.T, disk string) {
		path := filepath.Join(disk, "core.db")
		s := open(t, path)
		addDevice(t, s, 1)
		ballast := filepath.Join(disk, "ballast")
		require.NoError(t, os.WriteFile(ballast, make([]byte, 1<<20), 0o600))
		before := look(t, s, vpn.Revision{})
		full(t, s)
		err := s.Backup(t.Context(), filepath.Join(disk, "backup"))
		require.ErrorIs(t, err, sqlitestore.ErrFull)
		require.ErrorContains(t, err, "no room for the copy")
		require.Equal(t, before, look(t, s, vpn.Revision{}))
		require.NoError(t, os.Remove(ballast))
		addDevice(t, s, 2)
		require.NoError(t, s.Close())
		require.Len(t, look(t, open(t, path), vpn.Revision{}).Devices, 2)
	})
}

// Without room for even a beginning, there is none: the next try finds a clean
// place.
func TestNoRoomToBegin(t *testing.T) {
	onDisk(t, "1m", func(t *testing.T, disk string) {
		path := filepath.Join(disk, "core.db")
		ballast := filepath.Join(disk, "ballast")
		f, err := os.Create(ballast)
		require.NoError(t, err)
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		end, err := f.Seek(0, io.SeekEnd)
		require.NoError(t, err)
		tries := 0
		for ; ; tries++ { // from nothing at all to enough, two pages at a time
			s, err := sqlitestore.Open(t.Context(), sqlitestore.Config{Path: path})
			if err == nil {
				require.NoError(t, s.Close())
				break
			}
			if !errors.Is(err, syscall.ENOSPC) {
				require.ErrorIs(t, err, sqlitestore.ErrFull)
			}
			end -= 8192
			require.NoError(t, f.Truncate(end))
		}
		require.NoError(t, f.Close())
		require.NoError(t, os.Remove(ballast))
		t.Logf("after %d tries", tries)
		require.Greater(t, tries, 3)
		addDevice(t, open(t, path), 1)
	})
}

// What is mounted read-only is said to be.
func TestReadOnlyDisk(t *testing.T) {
	onDisk(t, "3m", func(t *testing.T, disk string) {
		path := filepath.Join(disk, "core.db")
		s := open(t, path)
		addDevice(t, s, 1)
		require.NoError(t, s.Close())
		require.NoError(t, syscall.Mount("", disk, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
		_, err := sqlitestore.Open(t.Context(), sqlitestore.Config{Path: path})
		require.ErrorIs(t, err, syscall.EROFS)
		t.Log(err)
		restored := place(t)
		require.NoError(t, sqlitestore.Restore(t.Context(), sqlitestore.Config{Path: restored}, path), "a backup may lie on such a disk")
		require.Len(t, look(t, open(t, restored), vpn.Revision{}).Devices, 1)
	})
}
