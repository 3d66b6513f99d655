package ledger

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"strings"
)

// keyNames are the columns of a Key.
func keyNames() []string { return []string{"hour", "project", "server", "method", "tool", "identity"} }

// migrations make a ledger of the version before; the first one of nothing. What was
// released is not changed any more.
func migrations() [][]string {
	key := "hour BIGINT NOT NULL, project TEXT NOT NULL, server TEXT NOT NULL, method TEXT NOT NULL, tool TEXT NOT NULL, identity TEXT NOT NULL"
	var amounts strings.Builder
	for _, name := range amountNames() {
		amounts.WriteString(", " + name + " BIGINT NOT NULL")
	}
	return [][]string{
		{
			"CREATE TABLE mcp_gateway_usage (" + key + amounts.String() + ", PRIMARY KEY (hour, project, server, method, tool, identity))",
			// The last batch of each writer, so that none counts twice.
			"CREATE TABLE mcp_gateway_writers (writer TEXT NOT NULL PRIMARY KEY, sequence BIGINT NOT NULL, written BIGINT NOT NULL)",
			// What is still to be exported: with cut 0 it grows; a cut above 0 is on its way and does not change.
			"CREATE TABLE mcp_gateway_outbox (cut BIGINT NOT NULL, " + key + amounts.String() +
				", PRIMARY KEY (cut, hour, project, server, method, tool, identity))",
			// One row: the number of the last cut, and who exports at the moment.
			"CREATE TABLE mcp_gateway_exporter (one BIGINT NOT NULL PRIMARY KEY, cut BIGINT NOT NULL, holder TEXT NOT NULL, until BIGINT NOT NULL)",
			"INSERT INTO mcp_gateway_exporter (one, cut, holder, until) VALUES (1, 0, '', 0)",
		},
	}
}

// migrationLock is one number for all gateways (pg_advisory_xact_lock).
const migrationLock = 0x6d63706777 // "mcpgw"

// migrate brings the tables to the newest version.
func (s *Store) migrate(ctx context.Context, tx *sql.Tx) error {
	if s.shared {
		if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", migrationLock); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS mcp_gateway_ledger (version BIGINT NOT NULL, id TEXT NOT NULL)"); err != nil {
		return err
	}
	version := 0
	if err := tx.QueryRowContext(ctx, "SELECT COALESCE(MAX(version), 0), COALESCE(MAX(id), '') FROM mcp_gateway_ledger").Scan(&version, &s.id); err != nil {
		return err
	}
	steps := migrations()
	switch {
	case version > len(steps):
		return fmt.Errorf("its tables have version %d, and this program knows %d: it was used by a newer one", version, len(steps))
	case version == len(steps):
		return nil
	case version == 0:
		s.id = strings.ToLower(rand.Text())
		if _, err := tx.ExecContext(ctx, "INSERT INTO mcp_gateway_ledger (version, id) VALUES (0, $1)", s.id); err != nil {
			return err
		}
	}
	for _, step := range steps[version:] {
		for _, statement := range step {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
	}
	_, err := tx.ExecContext(ctx, "UPDATE mcp_gateway_ledger SET version = $1", len(steps))
	return err
}

// columnList is the columns of a Key and of Amounts.
func columnList() string { return strings.Join(append(keyNames(), amountNames()...), ", ") }
