//! The shape of a plugin's declaration, for `transom schema` and the book.

use transom_api::{Schema, Shape};

fn of(shape: Shape, description: &str) -> Schema {
    Schema::new(shape).describe(description)
}

fn duration(description: &str, default: &str) -> Schema {
    of(Shape::Duration, description).or(default)
}

fn number(description: &str, default: i64) -> Schema {
    of(Shape::Integer(0, u32::MAX.into()), description).or(default)
}

fn texts(description: &str) -> Schema {
    Schema::list(Schema::string()).describe(description)
}

/// The keys of a plugin's declaration with `runtime: process`.
pub fn schema() -> Schema {
    Schema::object()
        .required("command", of(Shape::Any, "The program and its arguments: `[./auth, -v]`, or a text that is the program. Without a slash it is looked up in PATH; a relative path begins at the configuration's folder."))
        .optional("args", texts("Further arguments."))
        .optional("env", texts("Variables that it gets: `NAME` passes the proxy's own value on, `NAME=value` sets one. No others of the proxy's are passed."))
        .optional("cwd", Schema::string().describe("Its working folder; the proxy's unless set."))
        .optional("protocol", of(Shape::OneOf(super::Protocol::ALL.map(|(name, _)| name).to_vec()), "What it speaks. `none` is any program, which is only kept running.").or("transom"))
        .optional("address", Schema::string().describe("Where a server of ext_proc, ext_authz or als listens: `127.0.0.1:9000` or `unix:/path`."))
        .optional("instances", of(Shape::Integer(1, 256), "How many processes of it run; a call goes to the least loaded.").or(1))
        .optional("restart", restart())
        .optional("start_timeout", duration("How long it may take until it is ready.", "10s"))
        .optional("stop_timeout", duration("How long it may take to end when it is told to, before it is killed with all that it started.", "2s"))
        .optional("drain_timeout", duration("How long calls under way may take when it is stopped, before it is told to end.", "10s"))
        .optional("health", health())
        .optional("bounds", bounds())
        .optional("warm_up", duration("How much longer the first 32 answers of a process may take, while it is no older than a minute, and its first connections. 0s where `bounds.time` is not the default.", "4s"))
        .optional("memory", of(Shape::Size, "Most resident memory, its children's included; above it, it is started again. Without it there is no bound."))
        .optional("sandbox", of(Shape::Any, "What it may do: `none`, `default`, `strict`, or a map of keys.").or("none"))
        .optional("sha256", Schema::string().describe("SHA-256 of the program, 64 hexadecimal digits, checked on what is run."))
        .optional("minisign", Schema::string().describe("Public key of minisign: the program, or each of `files`, needs a good signature in FILE.minisig."))
        .optional("files", Schema::list(Schema::new(Shape::Any)).describe("Further files that are checked before each start: `{path, sha256}`, or a path for `minisign`. One that the command names is run from the checked content."))
        .optional("log", log())
        .optional("max_procs", number("Threads that a `call` plugin may use: 0 to 4; 0 is one for each CPU.", 1))
        .optional("log_base", Schema::string().describe("Folder for the logs of a `call` plugin."))
        .optional("cgroup", cgroup())
        .optional("swap", swap())
        .optional(
            "origin",
            Schema::string().describe(
                "Where the declaration came from: set by what declares plugins itself, and shown by the admin API.",
            ),
        )
}

fn restart() -> Schema {
    Schema::object()
        .describe("When it is started again after it ended: at once the first time, then after a pause that doubles.")
        .optional("backoff", Schema::string().describe("The first and the longest pause.").or("100ms..10s"))
        .optional("jitter", of(Shape::Number(0.0, 1.0), "By which part a pause is longer or shorter at random.").or(0.2))
        .optional("limit", number("So many ends within the window, and it is given up until it is enabled again; 0 is never.", 10))
        .optional("window", duration("The time that the limit counts in.", "1m"))
}

fn health() -> Schema {
    Schema::object()
        .describe("How it is seen to be well.")
        .optional("interval", duration("How often it is asked; 0s is never.", "5s"))
        .optional("timeout", duration("How long it may take to answer that.", "1s"))
        .optional("unhealthy", number("After so many failures in a row it is started again.", 3))
        .optional("healthy", number("After so many answers in a row it is well again.", 1))
        .optional("timeouts", number("After so many calls in a row without an answer in time it is started again; 0 is never.", 20))
}

fn bounds() -> Schema {
    Schema::object()
        .describe("What may be on its way to it, all instances and workers together. Beyond it a call fails at once, and `on_failure` of the use decides.")
        .optional("concurrency", number("Calls at once.", 1024))
        .optional("queue", number("Calls that wait for one of those to end.", 1024))
        .optional("queue_time", duration("How long one may wait.", "100ms"))
        .optional("time", duration("How long it may take for an answer.", "1s"))
        .optional("message_size", of(Shape::Size, "Bytes of one message, in either direction.").or("4MiB"))
}

fn log() -> Schema {
    let level = |description| {
        of(
            Shape::OneOf(vec!["trace", "debug", "info", "warn", "error", "off"]),
            description,
        )
        .or("info")
    };
    Schema::object()
        .describe("At which level its output is logged.")
        .optional("stdout", level("Lines on standard output."))
        .optional(
            "stderr",
            level("Lines on standard error that do not say their level themselves."),
        )
        .optional(
            "lines_per_second",
            number(
                "Lines of a second that are logged; the rest is counted.",
                1000,
            ),
        )
}

fn cgroup() -> Schema {
    Schema::object()
        .describe("What the kernel bounds of each process and all that it starts, where a cgroup was delegated; `memory` is held there as well.")
        .optional(
            "processes",
            of(Shape::Integer(1, 4_194_304), "Processes and threads (`pids.max`)."),
        )
        .optional(
            "cpu",
            of(Shape::Number(0.01, 10_000.0), "Cores (`cpu.max`); 0.5 is half of one."),
        )
        .optional(
            "required",
            of(Shape::Bool, "Does not start the plugin where the kernel cannot hold these bounds.").or(false),
        )
}

fn swap() -> Schema {
    Schema::object()
        .describe("How a new version takes over.")
        .optional(
            "on_reload",
            of(
                Shape::Bool,
                "A declaration that a reload has changed takes over like this too, and not at once.",
            )
            .or(false),
        )
        .optional(
            "share",
            of(
                Shape::Integer(0, 100),
                "Percent of calls that it gets at first.",
            )
            .or(10),
        )
        .optional(
            "watch",
            duration("How long it is watched before it gets all.", "30s"),
        )
        .optional("calls", number("Fewest calls that say something.", 100))
        .optional(
            "errors",
            of(
                Shape::Number(0.0, 1000.0),
                "By how many percent points its errors may exceed the old version's.",
            )
            .or(1.0),
        )
        .optional(
            "latency",
            of(
                Shape::Number(0.0, 1000.0),
                "By what factor its median latency may exceed the old version's.",
            )
            .or(2.0),
        )
}
