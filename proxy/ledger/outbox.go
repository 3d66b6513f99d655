package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Lease has one of several gateways export at a time. It reports whether the holder may,
// until then.
func (s *Store) Lease(ctx context.Context, holder string, now, until time.Time) (bool, error) {
	if err := s.ready(ctx); err != nil {
		return false, err
	}
	done, err := s.db.ExecContext(ctx, "UPDATE mcp_gateway_exporter SET holder = $1, until = $2 WHERE until < $3 OR holder = $1",
		holder, until.Unix(), now.Unix())
	if err != nil {
		return false, fmt.Errorf("lease the ledger's export: %w", err)
	}
	changed, err := done.RowsAffected()
	return changed == 1, err
}

// Cut returns the oldest cut of what is to be exported, which does not change any more
// until all of it was Sent. It makes one of what has come since the last; 0: there is
// nothing.
func (s *Store) Cut(ctx context.Context) (cut int64, err error) {
	if err := s.ready(ctx); err != nil {
		return 0, err
	}
	var something bool // else nothing need be written, nor wait for a disk
	if err := s.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM mcp_gateway_outbox)").Scan(&something); err != nil || !something {
		return 0, err
	}
	err = s.within(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if s.shared { // those who count have locked rows in their order, and wait for others of ours
			if _, err := tx.ExecContext(ctx, "LOCK TABLE mcp_gateway_outbox IN EXCLUSIVE MODE"); err != nil {
				return err
			}
		}
		if err := tx.QueryRowContext(ctx, "SELECT COALESCE(MIN(cut), 0) FROM mcp_gateway_outbox WHERE cut > 0").Scan(&cut); err != nil || cut > 0 {
			return err
		}
		if err := tx.QueryRowContext(ctx, "UPDATE mcp_gateway_exporter SET cut = cut + 1 RETURNING cut").Scan(&cut); err != nil {
			return err
		}
		done, err := tx.ExecContext(ctx, "UPDATE mcp_gateway_outbox SET cut = $1 WHERE cut = 0", cut)
		if err != nil {
			return err
		}
		if changed, err := done.RowsAffected(); err != nil || changed == 0 {
			cut = 0
			return err
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("cut the ledger's outbox: %w", err)
	}
	return cut, nil
}

// Outbox gives some of a cut, always in the same order.
func (s *Store) Outbox(ctx context.Context, cut int64, limit int) ([]Key, Entries, error) {
	if err := s.ready(ctx); err != nil {
		return nil, nil, err
	}
	//nolint:gosec // G202: the columns' names are our own
	rows, err := s.db.QueryContext(ctx, "SELECT "+columnList()+" FROM mcp_gateway_outbox WHERE cut = $1 ORDER BY hour, project, server, method, tool, identity LIMIT $2",
		cut, limit)
	if err != nil {
		return nil, nil, fmt.Errorf("read the ledger's outbox: %w", err)
	}
	defer func() { _ = rows.Close() }() // what went wrong, rows.Err says
	var keys []Key
	entries := Entries{}
	for rows.Next() {
		k, amounts, err := scan(rows)
		if err != nil {
			return nil, nil, err
		}
		keys = append(keys, k)
		entries[k] = amounts
	}
	return keys, entries, rows.Err()
}

// Sent takes what was exported out of a cut.
func (s *Store) Sent(ctx context.Context, cut int64, keys []Key) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	err := s.within(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for _, k := range keys {
			if _, err := tx.ExecContext(ctx, `DELETE FROM mcp_gateway_outbox WHERE cut = $1 AND hour = $2 AND project = $3 AND server = $4
				AND method = $5 AND tool = $6 AND identity = $7`, cut, k.Hour, k.Project, k.Server, k.Method, k.Tool, k.Identity); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("take what was sent out of the ledger's outbox: %w", err)
	}
	return nil
}
