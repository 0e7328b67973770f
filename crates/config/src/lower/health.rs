//! Health checks.

use super::Lowering;
use crate::file;
use crate::report::Problem;
use crate::{HealthCheck, HttpCheck, Located, OutlierDetection, Statuses};

impl Lowering<'_> {
    pub(super) fn health_check(&mut self, check: file::HealthCheck) -> HealthCheck {
        let interval = check.interval.0;
        let jitter = match check.jitter {
            None => interval / 10,
            Some(jitter) if jitter.value.0 > interval => {
                let message = "`jitter` is longer than `interval`";
                self.problems.push(
                    Problem::new(message, jitter.span).with_help(
                        "a check can be early by as much as the time between two at most",
                    ),
                );
                interval
            }
            Some(jitter) => jitter.value.0,
        };
        HealthCheck {
            http: check.http.map(|http| self.http_check(http)),
            interval,
            jitter,
            timeout: check.timeout.0,
            unhealthy_threshold: check.unhealthy_threshold.0,
            healthy_threshold: check.healthy_threshold.0,
            initially_healthy: matches!(check.initially, file::Initially::Healthy),
            port: check.port.and_then(|port| u16::try_from(port.0).ok()),
        }
    }

    pub(super) fn outlier_detection(
        &mut self,
        outliers: &file::OutlierDetection,
    ) -> OutlierDetection {
        let base_ejection = outliers.base_ejection.0;
        let max_ejection = outliers.max_ejection.value.0;
        if max_ejection < base_ejection {
            self.problems.push(Problem::new(
                "`max_ejection` is shorter than `base_ejection`",
                outliers.max_ejection.span,
            ));
        }
        OutlierDetection {
            consecutive_failures: outliers.consecutive_failures.0,
            base_ejection,
            max_ejection,
            max_ejected: outliers.max_ejected.0,
        }
    }

    fn http_check(&mut self, http: file::HttpCheck) -> HttpCheck {
        // They are written into a request as they are: nothing may end its line (RFC 9112 section 3).
        let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !http.path.starts_with('/') || !visible(&http.path) {
            self.problems.push(
                Problem::new(format!("{:?} is no path", http.path.value), http.path.span)
                    .with_help(
                        "a path begins with a slash, and what is not ASCII is percent-encoded",
                    ),
            );
        }
        if let Some(host) = &http.host
            && (host.is_empty() || !visible(host))
        {
            let message = format!("{:?} is no authority", host.value);
            self.problems.push(
                Problem::new(message, host.span).with_help("write a host, with or without a port"),
            );
        }
        // A tunnel answers no question.
        if http.method.is_empty()
            || !http.method.bytes().all(|byte| byte.is_ascii_uppercase())
            || http.method.value == "CONNECT"
        {
            let message = format!("{:?} is no method for a check", http.method.value);
            self.problems.push(
                Problem::new(message, http.method.span).with_help("write GET, HEAD or OPTIONS"),
            );
        }
        let statuses = match http.statuses {
            None => vec![Statuses {
                first: 200,
                last: 299,
            }],
            Some(Located { value, span }) => {
                if value.items.is_empty() && value.whole {
                    self.problems.push(
                        Problem::new("no status makes a check succeed", span)
                            .with_help("write statuses or ranges: [200, \"300..399\"]"),
                    );
                }
                value.items.into_iter().map(|range| range.0).collect()
            }
        };
        HttpCheck {
            path: http.path.value,
            host: http.host.map(|host| host.value),
            method: http.method.value,
            statuses,
        }
    }
}
