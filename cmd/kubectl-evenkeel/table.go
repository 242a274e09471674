package main

import (
	"fmt"
	"io"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/printers"
)

// newTable returns a table without rows. A column whose name begins with "+" is only shown with -o wide.
func newTable(columns ...string) *metav1.Table {
	table := &metav1.Table{}
	for _, name := range columns {
		column := metav1.TableColumnDefinition{Name: name, Type: "string"}
		if name[0] == '+' {
			column.Name, column.Priority = name[1:], 1
		}
		table.ColumnDefinitions = append(table.ColumnDefinitions, column)
	}
	return table
}

func addRow(table *metav1.Table, cells ...any) {
	table.Rows = append(table.Rows, metav1.TableRow{Cells: cells})
}

func printTable(out io.Writer, table *metav1.Table, wide bool) error {
	return printers.NewTablePrinter(printers.PrintOptions{Wide: wide}).PrintObj(table, out)
}

// until words when something ends, as seen from now; empty where it isn't known.
func until(at, now time.Time) string {
	if at.IsZero() {
		return ""
	}
	return fmt.Sprintf(" until %s (in %s)", at.Local().Format(time.DateTime), duration.HumanDuration(at.Sub(now)))
}

// several words a number of things.
func several(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
