package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"path"
	"regexp"
	"slices"
	"strings"

	"mcpgateway/proxy/report"
	"mcpgateway/runtime/document"
)

// priceList is a file of prices. Prices are decimals, as texts: they are never rounded.
type priceList struct {
	Currency  string      `config:"currency"`
	Decimals  int         `config:"decimals" want:"0..9"` // of amounts as they are shown; default 2
	Calls     []callPrice `config:"calls"`                // the first that matches
	CPUSecond string      `config:"cpu_second"`
	GiBHour   string      `config:"memory_gib_hour"`
	EgressGB  string      `config:"egress_gb"` // of 10^9 bytes, sent and received

	cpu, memory, egress *big.Rat
}

// callPrice is what a call costs. Names have * and ? as in file names; "" is any.
type callPrice struct {
	Project string `config:"project"`
	Server  string `config:"server"`
	Tool    string `config:"tool"`
	Price   string `config:"price"`

	price *big.Rat
}

// findPrices loads a price list, or the one that is where it is looked for; nil: there is
// none.
func findPrices(file string) (*priceList, error) {
	asked := file != ""
	if !asked {
		file = defaultPrices
	}
	content, err := document.ReadFile(file)
	switch {
	case err == nil:
		return parsePrices(file, content)
	case !asked && errors.Is(err, fs.ErrNotExist):
		return nil, nil //nolint:nilnil // no price list is no mistake
	}
	return nil, unusable{fmt.Errorf("read price list: %w", err)}
}

func parsePrices(file string, content []byte) (*priceList, error) {
	list := &priceList{Decimals: 2}
	report := document.Decode(file, content, nil, list)
	if list.Currency == "" {
		report.Fail(document.At("currency"), "is missing: write such as EUR")
	}
	decimal := regexp.MustCompile(`^[0-9]{1,12}(\.[0-9]{1,18})?$`)
	parse := func(at document.Path, text string) *big.Rat {
		price, ok := new(big.Rat).SetString(text)
		if !ok || !decimal.MatchString(text) {
			report.Fail(at, `is %.40q, want a decimal in quotes, such as "0.0015"`, text)
			return new(big.Rat)
		}
		return price
	}
	optional := func(key, text string) *big.Rat {
		if text == "" {
			return new(big.Rat)
		}
		return parse(document.At(key), text)
	}
	list.cpu, list.memory, list.egress = optional("cpu_second", list.CPUSecond), optional("memory_gib_hour", list.GiBHour), optional("egress_gb", list.EgressGB)
	for i := range list.Calls {
		call, at := &list.Calls[i], document.At("calls").Index(i)
		call.price = parse(at.Key("price"), call.Price)
		for key, pattern := range map[string]string{"project": call.Project, "server": call.Server, "tool": call.Tool} {
			if _, err := path.Match(pattern, ""); err != nil {
				report.Fail(at.Key(key), "is no pattern: %v", err)
			}
		}
	}
	if mistakes := report.Errors(); len(mistakes) > 0 {
		return nil, unusable{mistakes}
	}
	return list, nil
}

// amount is what a line costs, exactly. by are the names of its dimensions.
func (l *priceList) amount(by, of []string, u *report.Used) *big.Rat {
	name := func(dimension string) string {
		if i := slices.Index(by, dimension); i >= 0 {
			return of[i]
		}
		return ""
	}
	amount := new(big.Rat)
	for i := range l.Calls {
		if call := &l.Calls[i]; call.matches(name("project"), name("server"), name("tool")) {
			amount.Mul(call.price, big.NewRat(u.Calls, 1))
			break
		}
	}
	add := func(price *big.Rat, count, per int64) {
		amount.Add(amount, new(big.Rat).Mul(price, big.NewRat(count, per)))
	}
	add(l.cpu, u.CPUMicros, microseconds)
	add(l.memory, u.MemoryKiBSeconds, gibHour)
	add(l.egress, u.EgressSent+u.EgressReceived, gigabyte)
	return amount
}

func (c *callPrice) matches(project, server, tool string) bool {
	for _, pair := range [][2]string{{c.Project, project}, {c.Server, server}, {c.Tool, tool}} {
		if pair[0] == "" {
			continue
		}
		// In a path * would end at a slash, which tools may have in their names.
		pattern, name := strings.ReplaceAll(pair[0], "/", "\x00"), strings.ReplaceAll(pair[1], "/", "\x00")
		if matched, err := path.Match(pattern, name); err != nil || !matched {
			return false
		}
	}
	return true
}

// round is an amount as it is shown: rounded once, to the nearest, halves away from zero.
func (l *priceList) round(amount *big.Rat) string { return amount.FloatString(l.Decimals) }
