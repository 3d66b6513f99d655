package ledger

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"

	"github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/vfs"
)

// fileSystem is the name by which SQLite finds literal.
const fileSystem = "mcp-gateway"

// literal is the host's file system with paths taken as they are. SQLite's own resolves
// links first; a folder given as /proc/self/fd/N may be one whose parents we can't pass.
type literal struct{ vfs.VFSFilename }

// FullPathname returns the path.
func (literal) FullPathname(path string) (string, error) { return path, nil }

// OpenSQLite opens the ledger in a folder, and makes one if there is none.
func OpenSQLite(ctx context.Context, folder string) (*Store, error) {
	host, ok := vfs.Find("").(vfs.VFSFilename)
	if !ok {
		return nil, fmt.Errorf("open the ledger: %T is no file system by name", vfs.Find(""))
	}
	vfs.Register(fileSystem, literal{host})
	path := filepath.Join(folder, "usage.db")
	// Each commit is on the disk when it is done: what the spool still had is deleted then.
	name := url.URL{Scheme: "file", Path: path, OmitHost: true, RawQuery: url.Values{
		"vfs":     {fileSystem},
		"_pragma": {"busy_timeout(5000)", "journal_mode(wal)", "synchronous(full)", "temp_store(memory)"},
	}.Encode()}
	db, err := driver.Open(name.String())
	if err != nil {
		return nil, fmt.Errorf("open the ledger %s: %w", path, err)
	}
	db.SetMaxOpenConns(1)
	s := &Store{db: db}
	if err := s.ready(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), db.Close())
	}
	return s, nil
}
