package secrets_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// searchCommand makes this binary search /proc, as whoever runs it, for the texts
// that it reads: one a line, in hexadecimal digits. Each place is a line of its output.
const searchCommand = "search-processes"

func searchProcesses(in io.Reader, out io.Writer) int {
	var needles [][]byte
	for lines := bufio.NewScanner(in); lines.Scan(); {
		needle, err := hex.DecodeString(lines.Text())
		if err != nil {
			return 1
		}
		needles = append(needles, needle)
	}
	own := strconv.Itoa(os.Getpid())
	content := make([]byte, 4<<20)
	files := 0
	_ = filepath.WalkDir("/proc", func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return nil // not for us
		}
		if entry.IsDir() && (entry.Name() == own || entry.Name() == "task" || path == "/proc/self" || path == "/proc/thread-self" || path == "/proc/sys") {
			return filepath.SkipDir
		}
		if !entry.Type().IsRegular() || path == "/proc/kmsg" || path == "/proc/kcore" {
			return nil
		}
		file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return nil
		}
		defer file.Close()
		n, _ := io.ReadFull(file, content)
		files++
		for i, needle := range needles {
			if bytes.Contains(content[:n], needle) {
				fmt.Fprintf(out, "%d %s\n", i, path)
			}
		}
		return nil
	})
	fmt.Fprintf(out, "searched %d\n", files)
	return 0
}

// searchAs runs the search as a user and returns the places, and how many there were
// to look at.
func searchAs(t *testing.T, uid uint32, needles []string) (found []string, files int) {
	t.Helper()
	self := filepath.Join(top, "search")
	if content, err := os.ReadFile("/proc/self/exe"); err != nil || os.WriteFile(self, content, 0o755) != nil {
		t.Fatal("copy the test: ", err)
	}
	cmd := exec.Command(self, searchCommand)
	var in strings.Builder
	for _, needle := range needles {
		in.WriteString(hex.EncodeToString([]byte(needle)) + "\n")
	}
	cmd.Stdin, cmd.Dir, cmd.Env = strings.NewReader(in.String()), "/", []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if _, err := fmt.Sscanf(line, "searched %d", &files); err != nil {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found, files
}

// memory calls each for every readable part of a process's memory.
func memory(t *testing.T, pid int, each func(where string, content []byte)) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	const part, overlap = 16 << 20, 1 << 16
	buffer := make([]byte, part+overlap)
	for line := range strings.Lines(string(maps)) {
		var start, end int64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &start, &end, &mode); err != nil || !strings.HasPrefix(mode, "r") {
			continue
		}
		for at := start; at < end; at += part {
			n, _ := mem.ReadAt(buffer[:min(int64(len(buffer)), end-at)], at) // [vvar] can't be read
			each(strings.TrimSpace(line), buffer[:n])
		}
	}
}

// inMemory counts where a process's memory holds each of the needles.
func inMemory(t *testing.T, pid int, needles []string) map[string]int {
	t.Helper()
	found := map[string]int{}
	memory(t, pid, func(_ string, content []byte) {
		for _, needle := range needles {
			found[needle] += bytes.Count(content, []byte(needle))
		}
	})
	return found
}

// written are ways to write a secret of which no text of the gateway may have one.
func written(secret string) []string {
	ways := []string{secret, hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret)))}
	for i := range 3 {
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("~", i) + secret))
		// Without the digits that belong to what is around it, too.
		ways = append(ways, text[(i*8+5)/6:len(secret)*8/6])
	}
	return ways
}
