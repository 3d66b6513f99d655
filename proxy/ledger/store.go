package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Store is a ledger in a database. Its methods may be called concurrently.
type Store struct {
	db     *sql.DB
	shared bool // several gateways may write to it

	mu    sync.Mutex
	known bool   // that its tables are as this code wants them
	id    string // of the ledger
}

// Shared reports whether other gateways may write to the ledger, too.
func (s *Store) Shared() bool { return s.shared }

// Close lets the database go.
func (s *Store) Close() error { return s.db.Close() }

// ID is the ledger's own name, which it keeps.
func (s *Store) ID(ctx context.Context) (string, error) {
	err := s.ready(ctx)
	return s.id, err
}

// ready makes sure that the tables are as this code wants them.
func (s *Store) ready(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known {
		return nil
	}
	if err := s.within(ctx, s.migrate); err != nil {
		return fmt.Errorf("prepare the ledger: %w", err)
	}
	s.known = true
	return nil
}

// within does something in a transaction.
func (s *Store) within(ctx context.Context, do func(context.Context, *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := do(ctx, tx); err != nil {
		return errors.Join(err, rolledBack(tx.Rollback()))
	}
	return tx.Commit()
}

// rolledBack is what is worth telling of a rollback that failed: that the connection has
// gone, or that time is over, was said already.
func rolledBack(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// Write counts a batch, unless it was counted before.
func (s *Store) Write(ctx context.Context, b Batch) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	err := s.within(ctx, func(ctx context.Context, tx *sql.Tx) error {
		// A batch that is written again waits here for the end of its first time, which may
		// still be under way in the database.
		done, err := tx.ExecContext(ctx, `INSERT INTO mcp_gateway_writers (writer, sequence, written) VALUES ($1, $2, $3)
			ON CONFLICT (writer) DO UPDATE SET sequence = excluded.sequence, written = excluded.written
			WHERE mcp_gateway_writers.sequence < excluded.sequence`, b.Writer, b.Sequence, time.Now().Unix())
		if err != nil {
			return err
		}
		if changed, err := done.RowsAffected(); err != nil || changed == 0 {
			return err
		}
		if err := count(ctx, tx, "mcp_gateway_usage", keyNames(), nil, b.Entries); err != nil || !b.Export {
			return err
		}
		return count(ctx, tx, "mcp_gateway_outbox", append([]string{"cut"}, keyNames()...), []any{0}, b.Entries)
	})
	if err != nil {
		return fmt.Errorf("write to the ledger: %w", err)
	}
	return nil
}

// Written is the number of a writer's last batch, 0 if there is none.
func (s *Store) Written(ctx context.Context, writer string) (sequence int64, err error) {
	if err := s.ready(ctx); err != nil {
		return 0, err
	}
	err = s.db.QueryRowContext(ctx, "SELECT sequence FROM mcp_gateway_writers WHERE writer = $1", writer).Scan(&sequence)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("read the ledger: %w", err)
	}
	return sequence, nil
}

// rowsAtOnce is how many rows one statement has: SQLite takes 32766 values.
const rowsAtOnce = 200

// count adds entries to a table, whose key has values that are the same for all before
// those of a Key.
func count(ctx context.Context, tx *sql.Tx, table string, key []string, first []any, entries Entries) error {
	keys := entries.sorted()
	for len(keys) > 0 {
		some := keys[:min(rowsAtOnce, len(keys))]
		keys = keys[len(some):]
		var args []any
		for _, k := range some {
			args = append(args, first...)
			args = append(args, k.Hour, k.Project, k.Server, k.Method, k.Tool, k.Identity)
			amounts := entries[k]
			for _, value := range amounts.Values() {
				args = append(args, value)
			}
		}
		if _, err := tx.ExecContext(ctx, upsert(table, key, len(some)), args...); err != nil {
			return err
		}
	}
	return nil
}

// upsert is a statement that adds rows to what is there.
func upsert(table string, key []string, rows int) string {
	columns := append(append([]string{}, key...), amountNames()...)
	var text strings.Builder
	fmt.Fprintf(&text, "INSERT INTO %s (%s) VALUES ", table, strings.Join(columns, ", "))
	for n := range rows * len(columns) {
		switch {
		case n == 0:
			text.WriteString("(")
		case n%len(columns) == 0:
			text.WriteString("), (")
		default:
			text.WriteString(", ")
		}
		fmt.Fprintf(&text, "$%d", n+1)
	}
	fmt.Fprintf(&text, ") ON CONFLICT (%s) DO UPDATE SET ", strings.Join(key, ", "))
	for i, name := range amountNames() {
		if i > 0 {
			text.WriteString(", ")
		}
		fmt.Fprintf(&text, "%s = %s.%[1]s + excluded.%[1]s", name, table)
	}
	return text.String()
}

// Forget deletes what is older than a time, and writers that have written nothing for a
// year more: what they left somewhere must not count again.
func (s *Store) Forget(ctx context.Context, before time.Time) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	err := s.within(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM mcp_gateway_usage WHERE hour < $1", before.Unix()); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM mcp_gateway_writers WHERE written < $1", before.AddDate(-1, 0, 0).Unix())
		return err
	})
	if err != nil {
		return fmt.Errorf("delete what is old in the ledger: %w", err)
	}
	return nil
}
