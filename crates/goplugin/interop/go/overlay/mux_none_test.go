//go:build !mux

package plugin

func multiplex(*ClientConfig, bool) {}
