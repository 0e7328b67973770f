package transom

import (
	"fmt"
	"log/slog"
	"os"
)

// logsToHost has log/slog, and with it log, write the lines that hosts of go-plugin read, levels and all. A program that has set up its own log keeps it.
func logsToHost(level Level) {
	if fmt.Sprintf("%T", slog.Default().Handler()) != "*slog.defaultHandler" {
		return
	}
	lowest := [...]slog.Level{slog.LevelDebug - 4, slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}[level]
	// go-plugin puts another file into os.Stderr, later.
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: lowest, ReplaceAttr: hclog})))
}

// hclog names a line's parts as HashiCorp's hclog does.
func hclog(groups []string, attribute slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return attribute
	}
	switch attribute.Key {
	case slog.TimeKey:
		// Hosts refuse any other number of digits.
		return slog.String("@timestamp", attribute.Value.Time().Format("2006-01-02T15:04:05.000000Z07:00"))
	case slog.MessageKey:
		return slog.String("@message", attribute.Value.String())
	case slog.LevelKey:
		level, _ := attribute.Value.Any().(slog.Level)
		name := "error"
		switch {
		case level < slog.LevelDebug:
			name = "trace"
		case level < slog.LevelInfo:
			name = "debug"
		case level < slog.LevelWarn:
			name = "info"
		case level < slog.LevelError:
			name = "warn"
		}
		return slog.String("@level", name)
	}
	return attribute
}
