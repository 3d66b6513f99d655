package main

import (
	"bytes"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"mcpgateway/proxy/report"
)

func TestParseMoment(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 28, 15, 4, 5, 0, time.UTC)
	tests := []struct{ text, want string }{
		{"2026-11-01", "2026-11-01T00:00:00Z"},
		{"2026-11-01T10:00:00+02:00", "2026-11-01T08:00:00Z"},
		{"-24h", "2026-11-27T15:04:05Z"},
		{"-30d", "2026-10-29T15:04:05Z"},
		{"-90m", "2026-11-28T13:34:05Z"},
		{"yesterday", ""}, {"24h", ""}, {"--24h", ""}, {"-d", ""}, {"", ""}, {"2026-13-01", ""},
	}
	for _, test := range tests {
		got, err := parseMoment(test.text, now)
		if shown := got.Format(time.RFC3339); (err != nil) != (test.want == "") || err == nil && shown != test.want {
			t.Errorf("%q: got %s, %v, want %q", test.text, shown, err, test.want)
		}
		if err != nil && !isUnusable(err) {
			t.Errorf("%q: got another status than that of misuse: %v", test.text, err)
		}
	}
}

func TestPackagedPrices(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../../packaging/prices.yaml")
	if err != nil {
		t.Fatal(err)
	}
	list, err := parsePrices("prices.yaml", content)
	if err != nil {
		t.Fatal(err)
	}
	by := []string{"identity", "project", "server", "tool"}
	tests := []struct {
		name string
		of   []string
		used report.Used
		want string
	}{
		{"of the first that matches", []string{"x", "internal", "search", "deep_one"}, report.Used{Calls: 5}, "0"},
		{"by tool", []string{"x", "acme", "search", "deep_one"}, report.Used{Calls: 3}, "0.06"},
		{"by tool with a slash", []string{"x", "acme", "search", "deep_a/b"}, report.Used{Calls: 3}, "0.06"},
		{"by server", []string{"x", "acme", "search", "quick"}, report.Used{Calls: 3}, "0.012"},
		{"any other", []string{"x", "acme", "files", "read"}, report.Used{Calls: 1}, "0.001"},
		{"a microsecond", []string{"x", "acme", "files", ""}, report.Used{CPUMicros: 1}, "0.00000000004"},
		{"a GiB for an hour", []string{"x", "acme", "files", ""}, report.Used{MemoryKiBSeconds: gibHour}, "0.006"},
		{"a byte each way", []string{"x", "acme", "files", ""}, report.Used{EgressSent: 1, EgressReceived: 1}, "0.00000000018"},
		{"refusals", []string{"x", "acme", "files", "read"}, report.Used{Refused: 9, Errors: 9}, "0"},
	}
	for _, test := range tests {
		want, _ := new(big.Rat).SetString(test.want)
		if got := list.amount(by, test.of, &test.used); got.Cmp(want) != 0 {
			t.Errorf("%s: got %s, want %s", test.name, got.FloatString(12), test.want)
		}
	}
}

func TestPriceMistakes(t *testing.T) {
	t.Parallel()
	_, err := parsePrices("p.yaml", []byte(`calls: [{price: 0.1}, {tool: "[", price: "-1"}, {price: "1e9"}]
cpu_second: "x"
decimals: 20
`))
	if err == nil {
		t.Fatal("got no mistakes")
	}
	for _, want := range []string{"currency: is missing", "calls[0].price: is 0.1, want a text", "calls[1].tool: is no pattern", `calls[1].price: is "-1"`, `calls[2].price: is "1e9"`, `cpu_second: is "x"`, "decimals: is 20"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want that it has %q", err, want)
		}
	}
}

// Amounts are exact, and rounded once where they are shown.
func TestUsageFormats(t *testing.T) {
	t.Parallel()
	list, err := parsePrices("p.yaml", []byte(`{currency: EUR, calls: [{price: "0.005"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	sums := &usageSums{by: []string{"tool"}, prices: list, total: usageSum{amount: big.NewRat(1, 100), Used: report.Used{Calls: 2}}}
	for _, name := range []string{"=cmd|' /C calc'!A0", "\x1b[31mred"} {
		sums.lines = append(sums.lines, usageSum{by: []string{name}, amount: big.NewRat(5, 1000), Used: report.Used{
			Calls: 1, BytesIn: 1536, WallMicros: 1_500_001, CPUMicros: 1, MemoryKiBSeconds: gibHour / 2, EgressSent: 1,
		}})
	}
	var table, csv, json bytes.Buffer
	if err := sums.printTable(&table); err != nil {
		t.Fatal(err)
	}
	if err := sums.writeCSV(&csv); err != nil {
		t.Fatal(err)
	}
	if err := writeJSON(&json, sums.document()); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, got, want string }{
		{"table", table.String(), "1      0       0        1.5KiB"},
		{"table", table.String(), "1.500s  0.000s  0.500"},
		{"table", table.String(), "TOTAL"},
		{"table", table.String(), "0.01\n"},
		{"csv", csv.String(), "tool,calls,errors,refused,bytes_in,bytes_out,wall_seconds,cpu_seconds,memory_gib_hours,egress_sent_bytes,egress_received_bytes,amount,currency\n"},
		{"csv", csv.String(), "'=cmd|' /C calc'!A0,1,0,0,1536,0,1.500001,0.000001,0.500000000,1,0,0.01,EUR\n"},
		{"json", json.String(), `"wall_seconds": "1.500001"`},
		{"json", json.String(), `"tool": "\u001b[31mred"`},
		{"json", json.String(), `"amount": "0.01"`},
	}
	for _, test := range tests {
		if !strings.Contains(test.got, test.want) || strings.Contains(test.got, "\x1b") {
			t.Errorf("%s: got %s, want that it has %q", test.name, test.got, test.want)
		}
	}
}
