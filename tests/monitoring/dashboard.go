// Package monitoring makes the dashboards of packaging/grafana of their one source, and
// tests them and the rules of packaging/prometheus with the real programs.
//
// Runs in: tests.
package monitoring

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// source is one dashboard of dashboards.yaml.
type source struct {
	File        string `yaml:"file"`
	Title       string `yaml:"title"`
	Description string `yaml:"description"`
	Rows        []struct {
		Title  string  `yaml:"title"`
		Panels []panel `yaml:"panels"`
	} `yaml:"rows"`
}

// panel is one picture.
type panel struct {
	Title   string            `yaml:"title"`
	Unit    string            `yaml:"unit"`
	Kind    string            `yaml:"kind"`    // "stat", or "timeseries" if it is empty
	Quiet   bool              `yaml:"quiet"`   // it may have no data
	Queries map[string]string `yaml:"queries"` // by their legends
}

// parse reads dashboards.yaml.
func parse(text []byte) (dashboards []source, err error) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&dashboards); err != nil {
		return nil, fmt.Errorf("read dashboards: %w", err)
	}
	return dashboards, nil
}

// object is a JSON object. Encoded, its members are in the order of their names.
type object = map[string]any

// columns is the width of a dashboard in Grafana's units.
const columns = 24

// dashboard is what Grafana imports (its "Dashboard JSON model").
func dashboard(s source) ([]byte, error) {
	var panels []object
	id, y := 0, 0
	for _, row := range s.Rows {
		id++
		panels = append(panels, object{"id": id, "type": "row", "title": row.Title, "collapsed": false, "panels": []any{}, "gridPos": grid(0, y, columns, 1)})
		y++
		x, tallest := 0, 0
		for _, p := range row.Panels {
			width, height := columns/3, 8
			if p.Kind == "stat" {
				width, height = columns/8, 4
			}
			if x+width > columns {
				x, y, tallest = 0, y+tallest, 0
			}
			id++
			panels = append(panels, picture(p, id, grid(x, y, width, height)))
			x, tallest = x+width, max(tallest, height)
		}
		y += tallest
	}
	text, err := json.MarshalIndent(object{
		"uid": "mcp-gateway-" + s.File, "title": s.Title, "description": s.Description, "tags": []string{"mcp-gateway"},
		"schemaVersion": 39, "editable": true, "refresh": "30s", "time": object{"from": "now-6h", "to": "now"},
		"templating": object{"list": variables()}, "panels": panels,
	}, "", "  ")
	return append(text, '\n'), err
}

func grid(x, y, w, h int) object { return object{"x": x, "y": y, "w": w, "h": h} }

func datasource() object { return object{"type": "prometheus", "uid": "${datasource}"} }

// picture is one panel. References of its queries are A, B, C, by their legends.
func picture(p panel, id int, at object) object {
	var targets []object
	for i, legend := range slices.Sorted(maps.Keys(p.Queries)) {
		targets = append(targets, object{
			"refId": string(rune('A' + i)), "datasource": datasource(), "legendFormat": legend, "expr": p.Queries[legend], "instant": p.Kind == "stat", "range": p.Kind != "stat",
		})
	}
	kind := p.Kind
	if kind == "" {
		kind = "timeseries"
	}
	return object{
		"id": id, "type": kind, "title": p.Title, "datasource": datasource(), "targets": targets, "gridPos": at,
		"fieldConfig": object{"defaults": object{"unit": p.Unit, "min": 0}, "overrides": []any{}},
	}
}

// variables are what is chosen on a dashboard.
func variables() []object {
	list := []object{{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}}
	for _, label := range []string{"project", "server"} {
		matcher := ""
		if label == "server" {
			matcher = `{project=~"$project"}`
		}
		query := fmt.Sprintf("label_values(mcp_gateway_instances%s, %s)", matcher, label)
		list = append(list, object{
			"name": label, "label": label, "type": "query", "datasource": datasource(), "query": object{"query": query, "refId": label},
			"refresh": 2, "includeAll": true, "allValue": ".*", "multi": true, "current": object{"text": "All", "value": "$__all"},
		})
	}
	var options []object
	for _, window := range windows() {
		options = append(options, object{"text": window, "value": window, "selected": window == "5m"})
	}
	return append(list, object{
		"name": "window", "label": "averaged over", "type": "custom", "query": "1m,5m,30m,1h", "options": options, "current": object{"text": "5m", "value": "5m"},
	})
}

func windows() []string { return []string{"1m", "5m", "30m", "1h"} }

// Query is one query of a dashboard, for those who run it.
type Query struct {
	Panel string // with its dashboard
	Expr  string // for all projects and servers, averaged over a minute
	Quiet bool   // it may have no data
}

// Queries are those of all dashboards of dashboards.yaml.
func Queries(text []byte) (queries []Query, err error) {
	dashboards, err := parse(text)
	chosen := strings.NewReplacer("$project", ".*", "$server", ".*", "$window", "1m")
	for _, d := range dashboards {
		for _, row := range d.Rows {
			for _, p := range row.Panels {
				for _, legend := range slices.Sorted(maps.Keys(p.Queries)) {
					queries = append(queries, Query{d.Title + ": " + p.Title, chosen.Replace(p.Queries[legend]), p.Quiet})
				}
			}
		}
	}
	return queries, err
}
