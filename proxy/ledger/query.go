package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// maxLines is the most lines of an answer.
const maxLines = 200_000

// ErrTooMuch says that an answer would have too many lines.
var ErrTooMuch = fmt.Errorf("that are more than %d lines: ask for less time, or by less", maxLines)

// Query is what somebody wants to know. "" stands for all.
type Query struct {
	Project, Server, Identity string
	From, To                  time.Time // hours that begin at From or later, and before To
	By                        []string  // of Dimensions
}

// Line is one line of an answer.
type Line struct {
	By []string // as the query's; hours and days as their beginning
	Amounts
}

// Dimensions are what amounts can be asked for by.
func Dimensions() []string {
	return []string{"project", "server", "identity", "tool", "method", "day", "hour"}
}

const daySeconds = 24 * 60 * 60

// of is a dimension of a key.
func of(dimension string, k *Key) string {
	switch dimension {
	case "project":
		return k.Project
	case "server":
		return k.Server
	case "identity":
		return k.Identity
	case "tool":
		return k.Tool
	case "method":
		return k.Method
	case "day":
		return time.Unix(k.Hour-k.Hour%daySeconds, 0).UTC().Format(time.DateOnly)
	}
	return time.Unix(k.Hour, 0).UTC().Format(time.RFC3339)
}

// Matches reports whether a query asks for a key.
func (q *Query) Matches(k *Key) bool {
	return (q.Project == "" || k.Project == q.Project) && (q.Server == "" || k.Server == q.Server) &&
		(q.Identity == "" || k.Identity == q.Identity) && k.Hour >= q.From.Unix() && k.Hour < q.To.Unix()
}

// Check refuses a query that makes no sense.
func (q *Query) Check() error {
	for i, dimension := range q.By {
		if !slices.Contains(Dimensions(), dimension) {
			return fmt.Errorf("by %.100q is not known: known are %s", dimension, strings.Join(Dimensions(), ", "))
		}
		if slices.Contains(q.By[:i], dimension) {
			return fmt.Errorf("by %s stands there twice", dimension)
		}
	}
	if !q.From.Before(q.To) {
		return errors.New("from must be before to")
	}
	return nil
}

// Select gives the entries that a query asks for.
func (q *Query) Select(all Entries) Entries {
	selected := Entries{}
	for k, amounts := range all {
		if q.Matches(&k) {
			selected[k] = amounts
		}
	}
	return selected
}

// Answer sums entries that a query asks for as it wants them, sorted.
func Answer(q Query, all ...Entries) ([]Line, error) {
	sums := map[string]*Line{}
	for _, entries := range all {
		for k, amounts := range entries {
			by := make([]string, len(q.By))
			for i, dimension := range q.By {
				by[i] = of(dimension, &k)
			}
			name := strings.Join(by, "\x00")
			if sums[name] == nil {
				sums[name] = &Line{By: by}
			}
			sums[name].Add(amounts)
		}
	}
	if len(sums) > maxLines {
		return nil, ErrTooMuch
	}
	var lines []Line
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		lines = append(lines, *sums[name])
	}
	return lines, nil
}

// Sums gives what the ledger has for a query, summed over what it does not ask by.
func (s *Store) Sums(ctx context.Context, q Query) (Entries, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	text, args := s.sums(q)
	rows, err := s.db.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	defer func() { _ = rows.Close() }() // what went wrong, rows.Err says
	entries := Entries{}
	for rows.Next() {
		if len(entries) == maxLines {
			return nil, ErrTooMuch
		}
		k, amounts, err := scan(rows)
		if err != nil {
			return nil, err
		}
		entries.Add(k, amounts)
	}
	return entries, rows.Err()
}

// sums is the statement of a query. It answers with the columns of a Key, those that are
// not asked for empty.
func (s *Store) sums(q Query) (text string, args []any) {
	columns, groups := []string{}, []string{}
	for i, name := range keyNames() {
		asked, expression := slices.Contains(q.By, name), name
		if i == 0 && !asked && slices.Contains(q.By, "day") {
			asked, expression = true, fmt.Sprintf("hour - hour %% %d", daySeconds)
		}
		switch {
		case asked:
			groups = append(groups, expression)
		case i == 0:
			expression = "MIN(hour)"
		default:
			expression = "''"
		}
		columns = append(columns, expression)
	}
	for _, name := range amountNames() {
		columns = append(columns, "CAST(COALESCE(SUM("+name+"), 0) AS BIGINT)")
	}
	conditions := []string{"hour >= $1", "hour < $2"}
	args = []any{q.From.Unix(), q.To.Unix()}
	for _, filter := range []struct{ column, value string }{{"project", q.Project}, {"server", q.Server}, {"identity", q.Identity}} {
		if filter.value != "" {
			args = append(args, filter.value)
			conditions = append(conditions, fmt.Sprintf("%s = $%d", filter.column, len(args)))
		}
	}
	text = "SELECT " + strings.Join(columns, ", ") + " FROM mcp_gateway_usage WHERE " + strings.Join(conditions, " AND ")
	if len(groups) > 0 {
		return text + " GROUP BY " + strings.Join(groups, ", "), args
	}
	return text + " HAVING COUNT(*) > 0", args
}

// scan reads a row of the columns of a Key and of Amounts.
func scan(rows *sql.Rows) (k Key, a Amounts, err error) {
	into := []any{&k.Hour, &k.Project, &k.Server, &k.Method, &k.Tool, &k.Identity}
	for _, column := range a.columns() {
		into = append(into, column)
	}
	if err := rows.Scan(into...); err != nil {
		return k, a, fmt.Errorf("read the ledger: %w", err)
	}
	return k, a, nil
}
