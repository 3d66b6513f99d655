package ledger

import (
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// Connections to a PostgreSQL.
const (
	maxConnections = 3 // one writes, one exports, one reads
	connectWait    = 10 * time.Second
	idleWait       = 5 * time.Minute
)

// OpenPostgres returns the ledger in a PostgreSQL. It need not be there: each use of the
// store tries to connect. Errors show nothing of the URL, which may have a password.
func OpenPostgres(url string) (*Store, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, errors.New("usage.database is no URL of a PostgreSQL: want postgres://user:password@host:5432/database?sslmode=verify-full")
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectWait
	}
	config.RuntimeParams["application_name"] = "mcp-gateway"
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(maxConnections)
	db.SetConnMaxIdleTime(idleWait)
	return &Store{db: db, shared: true}, nil
}
