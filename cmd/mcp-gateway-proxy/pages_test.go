package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestOfFiles(t *testing.T) {
	t.Parallel()
	const clean, fields = "Anonymous:             0 kB\n", "Size:  8 kB\nReferenced:  8 kB\n%sAnonHugePages:  0 kB\nSwap:  0 kB\nVmFlags: rd mr mw me\n"
	of := func(header, anonymous string) string { return header + "\n" + fmt.Sprintf(fields, anonymous) }
	smaps := of("00400000-0127d000 r-xp 00000000 fd:00 1234    /usr/bin/mcp-gateway-proxy", clean) +
		of("0127d000-0256e000 r--p 00e7d000 fd:00 1234    /usr/bin/mcp-gateway-proxy", clean) +
		of("0256e000-025f0000 rw-p 0216e000 fd:00 1234    /usr/bin/mcp-gateway-proxy", clean) + // changes would be lost
		of("025f0000-02600000 r--p 021f0000 fd:00 1234    /usr/bin/mcp-gateway-proxy", "Anonymous:             4 kB\n") + // so they would here
		strings.Replace(of("02600000-02610000 r--p 021f0000 fd:00 1234    /usr/bin/mcp-gateway-proxy", clean), "Swap:  0", "Swap:  4", 1) +
		of("7f0000000000-7f0000040000 r--s 00000000 fd:00 77    /var/lib/spool", clean) +
		of("c000000000-c000400000 r--p 00000000 00:00 0", clean) +
		of("7ffd1c9fe000-7ffd1ca00000 r-xp 00000000 00:00 0    [vdso]", clean)
	want := []mapping{{0x400000, 0x127d000}, {0x127d000, 0x256e000}}
	if got := ofFiles(smaps); !slices.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

// What the program has of its file is less than before, and it goes on.
func TestLeavePages(t *testing.T) {
	inFiles := func() (kB int64) {
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(status), "RssFile:")
		if _, err := fmt.Sscan(rest, &kB); err != nil {
			t.Fatal(err)
		}
		return kB
	}
	before := inFiles()
	if err := leavePages(); err != nil {
		t.Fatal(err)
	}
	if after := inFiles(); after > before/2 {
		t.Errorf("got %d kB of files in memory after %d", after, before)
	}
}
