package transom.sdk;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.logging.ConsoleHandler;
import java.util.logging.Formatter;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;

/** The plugin's java.util.logging (and System.Logger) as the lines that hosts of go-plugin read, levels and all: HashiCorp's hclog in JSON. */
final class HostLog extends Formatter {
    /** Exactly six digits of fraction: hosts refuse any other number. */
    private static final DateTimeFormatter TIME = DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'").withZone(ZoneOffset.UTC);

    private HostLog() {}

    /** From the host's level on. A program that has set up its own log keeps it. */
    static void install(Level lowest) {
        if (System.getProperty("java.util.logging.config.file") != null || System.getProperty("java.util.logging.config.class") != null) {
            return;
        }
        java.util.logging.Level level = new java.util.logging.Level[] {
            java.util.logging.Level.FINER,
            java.util.logging.Level.FINE,
            java.util.logging.Level.INFO,
            java.util.logging.Level.WARNING,
            java.util.logging.Level.SEVERE
        }[lowest.ordinal()];
        // What libraries say of their insides is not asked for by a level of the host's.
        Logger root = Logger.getLogger("");
        if (level.intValue() >= java.util.logging.Level.INFO.intValue()) {
            root.setLevel(level);
        }
        for (Handler handler : root.getHandlers()) {
            if (handler instanceof ConsoleHandler) {
                handler.setFormatter(new HostLog());
                handler.setLevel(level);
            }
        }
    }

    @Override
    public String format(LogRecord line) {
        int weight = line.getLevel().intValue();
        String level = "error";
        if (weight < java.util.logging.Level.FINE.intValue()) {
            level = "trace";
        } else if (weight < java.util.logging.Level.INFO.intValue()) {
            level = "debug";
        } else if (weight < java.util.logging.Level.WARNING.intValue()) {
            level = "info";
        } else if (weight < java.util.logging.Level.SEVERE.intValue()) {
            level = "warn";
        }
        String text = formatMessage(line);
        if (line.getThrown() != null) {
            StringWriter trace = new StringWriter();
            line.getThrown().printStackTrace(new PrintWriter(trace));
            text += "\n" + trace;
        }
        String module = line.getLoggerName() == null ? "" : line.getLoggerName();
        return "{\"@level\": \"" + level + "\", \"@message\": " + Json.quote(text) + ", \"@module\": " + Json.quote(module)
                + ", \"@timestamp\": \"" + TIME.format(line.getInstant()) + "\"}\n";
    }
}
