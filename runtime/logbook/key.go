package logbook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"mcpgateway/policy/chain"
)

// Names of the files in the state folder.
const (
	KeyFile    = "audit.key"   // root's alone
	PublicFile = "audit.pub"   // what verifies signatures
	HeadsFile  = "audit.heads" // the newest signed heads
)

// What stands before a key in its DER form (RFC 8410): crypto/x509 would be a
// large thing to link for these.
const (
	privatePrefix = "\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20"
	publicPrefix  = "\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"
)

// loadKey reads the key in the state folder, and makes one if there is none.
func loadKey(state string) (key ed25519.PrivateKey, err error) {
	path := filepath.Join(state, KeyFile)
	seed, err := readSeed(path)
	if errors.Is(err, fs.ErrNotExist) {
		seed = make([]byte, ed25519.SeedSize)
		_, _ = rand.Read(seed) // it never fails
		err = replace(path, 0o600, encode("PRIVATE KEY", privatePrefix, seed))
	}
	if err != nil {
		return nil, fmt.Errorf("audit key: %w", err)
	}
	key = ed25519.NewKeyFromSeed(seed)
	if err := replace(filepath.Join(state, PublicFile), 0o644, encode("PUBLIC KEY", publicPrefix, key[ed25519.SeedSize:])); err != nil {
		return nil, fmt.Errorf("audit key: %w", err)
	}
	return key, nil
}

func encode(kind, prefix string, key []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: append([]byte(prefix), key...)})
}

func readSeed(path string) ([]byte, error) {
	content, err := readOwn(path, 0o077)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil || len(block.Bytes) != len(privatePrefix)+ed25519.SeedSize || string(block.Bytes[:len(privatePrefix)]) != privatePrefix {
		return nil, fmt.Errorf("%s holds no Ed25519 key: move it away for a new one", path)
	}
	return block.Bytes[len(privatePrefix):], nil
}

// readOwn reads a small file of root's, or of who runs this, that others may
// neither write nor do what forbidden says.
func readOwn(path string, forbidden uint32) ([]byte, error) {
	const most = 64 << 10
	file, err := os.OpenFile(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return nil, err
	}
	if !ours(st) || st.Mode&(forbidden|0o022) != 0 {
		return nil, fmt.Errorf("%s: others may use it: chown root %[1]s && chmod 0600 %[1]s", path)
	}
	return io.ReadAll(io.LimitReader(file, most))
}

// replace writes a file of the state folder as a whole, or leaves it as it was.
func replace(path string, mode fs.FileMode, content []byte) error {
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(next, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// DigestKey returns what the digests of arguments are made with, by the key in
// a state folder, which is made if there is none.
func DigestKey(state string) ([]byte, error) {
	key, err := loadKey(state)
	if err != nil {
		return nil, err
	}
	h := hmac.New(sha256.New, key.Seed())
	_, _ = h.Write([]byte("mcp-gateway audit arguments 1")) // it never fails
	return h.Sum(nil), nil
}

// Heads are what HeadsFile holds, as JSON.
type Heads struct {
	Calls Newest `json:"calls"`
	Own   Newest `json:"daemon"`
}

// Newest is the head of a log that was signed last, and where that log is.
type Newest struct {
	File string      `json:"file,omitempty"`
	Head *chain.Head `json:"head,omitempty"`
}

// ReadHeads reads the heads in the state folder; none if there are none.
func ReadHeads(state string) (h Heads, err error) {
	content, err := readOwn(filepath.Join(state, HeadsFile), 0)
	if errors.Is(err, fs.ErrNotExist) {
		return Heads{}, nil
	}
	if err == nil {
		err = json.Unmarshal(content, &h)
	}
	if err != nil {
		return Heads{}, fmt.Errorf("read signed heads: %w", err)
	}
	return h, nil
}
