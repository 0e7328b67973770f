//! Which cluster a connection or datagram goes to.

use std::net::SocketAddr;

use transom_config::AddressRoute;

use crate::cluster::ClusterId;

/// Clusters with their shares, and routes by addresses to others.
#[derive(Clone, Debug)]
pub(crate) struct Targets {
    pub(crate) routes: Box<[(AddressRoute, Shares)]>,
    pub(crate) others: Shares,
}

/// Clusters, each with the sum of its weight and those before it, so that the last one has them all.
#[derive(Clone, Debug)]
pub(crate) struct Shares(Box<[(u32, ClusterId)]>);

impl Targets {
    /// The cluster for a client; `None` when there is none for it. `random` is a number that is as good as any.
    pub(crate) fn pick(
        &self,
        source: Option<SocketAddr>,
        destination: Option<SocketAddr>,
        random: impl FnOnce() -> u64,
    ) -> Option<ClusterId> {
        let route = self
            .routes
            .iter()
            .find(|(route, _)| route.fits(source, destination));
        route
            .map_or(&self.others, |(_, shares)| shares)
            .pick(random)
    }
}

impl Shares {
    pub(crate) fn new(clusters: impl Iterator<Item = (u32, ClusterId)>) -> Self {
        let mut sum = 0_u32;
        let clusters = clusters.filter(|(weight, _)| *weight > 0);
        let summed = clusters.map(|(weight, cluster)| {
            sum = sum.saturating_add(weight);
            (sum, cluster)
        });
        Self(summed.collect())
    }

    fn pick(&self, random: impl FnOnce() -> u64) -> Option<ClusterId> {
        match &*self.0 {
            [] => None,
            [(_, only)] => Some(*only),
            clusters => {
                let (sum, _) = clusters.last()?;
                let at = random() % u64::from(*sum);
                let found = clusters.iter().find(|(upto, _)| at < u64::from(*upto));
                found.map(|(_, cluster)| *cluster)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_get_their_shares() {
        let clusters = [(0, 7), (3, 1), (0, 8), (1, 2)];
        let shares = Shares::new(
            clusters
                .into_iter()
                .map(|(weight, id)| (weight, ClusterId(id))),
        );
        let targets = Targets {
            routes: Box::default(),
            others: shares,
        };
        let picked: Vec<u32> = (0..8)
            .map(|at| targets.pick(None, None, || at).unwrap().0)
            .collect();
        assert_eq!(picked, [1, 1, 1, 2, 1, 1, 1, 2]);
        let none = Targets {
            routes: Box::default(),
            others: Shares::new(std::iter::empty()),
        };
        assert!(none.pick(None, None, || 0).is_none());
    }
}
