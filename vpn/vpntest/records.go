package vpntest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/vpn"
)

func record(tb testing.TB, s vpn.Stores, key, value string) {
	tb.Helper()
	require.NoError(tb, s.Records().Update(tb.Context(), key, func([]byte) ([]byte, error) { return []byte(value), nil }))
}

func recordComesBack(tb testing.TB, s vpn.Stores) {
	tb.Helper()
	r := s.Records()
	_, err := r.Get(tb.Context(), "a/b")
	require.ErrorIs(tb, err, vpn.ErrNotFound)
	for _, value := range []string{"1", "", "\x00\xff", "{}"} {
		record(tb, s, "a/b", value)
		got, err := r.Get(tb.Context(), "a/b")
		require.NoError(tb, err, "an empty value is a value")
		require.Equal(tb, value, string(got))
	}
	require.NoError(tb, r.Update(tb.Context(), "a/b", func(old []byte) ([]byte, error) {
		require.Equal(tb, "{}", string(old))
		return nil, nil
	}))
	_, err = r.Get(tb.Context(), "a/b")
	require.ErrorIs(tb, err, vpn.ErrNotFound, "nil deletes")
	require.NoError(tb, r.Update(tb.Context(), "a/b", func(old []byte) ([]byte, error) {
		require.Nil(tb, old, "absent is nil")
		return nil, nil
	}), "deleting what is not there is no error")
}

func recordPages(tb testing.TB, s vpn.Stores) {
	tb.Helper()
	for _, k := range []string{"b/2", "a/1", "b/10", "b/1", "b", "c/1", "B/1", "b/ä", "b0"} {
		record(tb, s, k, "of "+k)
	}
	list := func(prefix, after string, limit int) (keys []string) {
		all, err := s.Records().List(tb.Context(), prefix, after, limit)
		require.NoError(tb, err)
		for _, r := range all {
			require.Equal(tb, "of "+r.Key, string(r.Value))
			keys = append(keys, r.Key)
		}
		return keys
	}
	require.Equal(tb, []string{"b/1", "b/10", "b/2", "b/ä"}, list("b/", "", 0))
	require.Equal(tb, []string{"b/1", "b/10"}, list("b/", "", 2))
	require.Equal(tb, []string{"b/2"}, list("b/", "b/10", 1), "after is left out")
	require.Equal(tb, []string{"b/2", "b/ä"}, list("b/", "b/11", 9), "after need not be there")
	require.Equal(tb, []string{"b/1", "b/10", "b/2", "b/ä"}, list("b/", "a", 0))
	require.Empty(tb, list("b/", "c", 0))
	require.Empty(tb, list("d", "", 0))
	require.Equal(tb, []string{"B/1", "a/1", "b", "b/1", "b/10", "b/2", "b/ä", "b0", "c/1"}, list("", "", 0))
}

func recordEdit(tb testing.TB, s vpn.Stores) {
	tb.Helper()
	record(tb, s, "k", "1")
	wrong := errors.New("wrong")
	err := s.Records().Update(tb.Context(), "k", func([]byte) ([]byte, error) { return []byte("2"), wrong })
	require.Equal(tb, wrong, err, "the error of edit comes back as it is")
	got, err := s.Records().Get(tb.Context(), "k")
	require.NoError(tb, err)
	require.Equal(tb, "1", string(got))
}

func recordCopies(tb testing.TB, s vpn.Stores) {
	tb.Helper()
	r, given := s.Records(), []byte("12345")
	require.NoError(tb, r.Update(tb.Context(), "k", func([]byte) ([]byte, error) { return given, nil }))
	given[0] = 'x'
	got, err := r.Get(tb.Context(), "k")
	require.NoError(tb, err)
	require.Equal(tb, "12345", string(got), "what is put in is copied")
	got[0] = 'x'
	all, err := r.List(tb.Context(), "k", "", 0)
	require.NoError(tb, err)
	require.Equal(tb, "12345", string(all[0].Value), "what Get returns is a copy")
	all[0].Value[0] = 'x'
	require.NoError(tb, r.Update(tb.Context(), "k", func(old []byte) ([]byte, error) {
		require.Equal(tb, "12345", string(old), "what List returns is a copy")
		old[0] = 'x'
		return []byte("67890"), nil
	}))
	got, err = r.Get(tb.Context(), "k")
	require.NoError(tb, err)
	require.Equal(tb, "67890", string(got))
}

func recordsInParallel(tb testing.TB, s vpn.Stores) {
	tb.Helper()
	const writers, each = 8, 25
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				err := s.Records().Update(tb.Context(), "n", func(old []byte) ([]byte, error) {
					n := 0
					if old != nil {
						if _, err := fmt.Sscan(string(old), &n); err != nil {
							return nil, err
						}
					}
					return fmt.Append(nil, n+1), nil
				})
				if err != nil {
					tb.Errorf("Update: %v", err)
				}
			}
		})
	}
	wg.Wait()
	got, err := s.Records().Get(tb.Context(), "n")
	require.NoError(tb, err)
	require.Equal(tb, fmt.Sprint(writers*each), string(got))
}
