//! How deep a graph of references goes and where it turns in circles; never recurses, so no graph is too deep for it.

/// How far the references of a node go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Length of the longest chain of references from here: 0 without references.
    Finite(usize),
    /// Some chain from here never ends. The beginning of one: each node refers to the next.
    Cycle(Vec<usize>),
}

/// Nodes of a chain that are shown.
const SHOWN_COUNT_MAX: usize = 16;

/// The depth of each node; `edges[n]` are the nodes that `n` refers to, all of them smaller than the node count.
pub(crate) fn depths(edges: &[Vec<usize>]) -> Vec<Depth> {
    let mut referrers: Vec<Vec<usize>> = vec![Vec::new(); edges.len()];
    for (from, targets) in edges.iter().enumerate() {
        for to in targets {
            if let Some(referrers) = referrers.get_mut(*to) {
                referrers.push(from);
            }
        }
    }
    let mut open_counts: Vec<usize> = edges.iter().map(Vec::len).collect();
    let mut heights = vec![0_usize; edges.len()];
    let mut ready: Vec<usize> = (0..edges.len()).filter(|node| open_counts.get(*node) == Some(&0)).collect();
    while let Some(node) = ready.pop() {
        let above = heights.get(node).map_or(1, |height| height + 1);
        for from in referrers.get(node).into_iter().flatten() {
            if let (Some(height), Some(open)) = (heights.get_mut(*from), open_counts.get_mut(*from)) {
                *height = (*height).max(above);
                *open -= 1;
                if *open == 0 {
                    ready.push(*from);
                }
            }
        }
    }
    let is_endless = |node: usize| open_counts.get(node).is_some_and(|open| *open > 0);
    let depth = |(node, height)| {
        if is_endless(node) { Depth::Cycle(chain(edges, is_endless, node)) } else { Depth::Finite(height) }
    };
    heights.into_iter().enumerate().map(depth).collect()
}

/// From `start` along nodes without an end, until one comes again.
fn chain(edges: &[Vec<usize>], is_endless: impl Fn(usize) -> bool, start: usize) -> Vec<usize> {
    let mut path = vec![start];
    let mut node = start;
    while path.len() <= SHOWN_COUNT_MAX {
        let next = edges.get(node).and_then(|targets| targets.iter().copied().find(|to| is_endless(*to)));
        let Some(next) = next else { break };
        let is_repeat = path.contains(&next);
        path.push(next);
        node = next;
        if is_repeat {
            break;
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_are_the_longest_chains_and_cycles_are_told() {
        let edges = [vec![1, 2], vec![2], vec![], vec![4], vec![3], vec![3], vec![6]];
        let found = depths(&edges);
        assert_eq!(found[..3], [Depth::Finite(2), Depth::Finite(1), Depth::Finite(0)]);
        assert_eq!(found[3], Depth::Cycle(vec![3, 4, 3]));
        assert_eq!(found[5], Depth::Cycle(vec![5, 3, 4, 3]));
        assert_eq!(found[6], Depth::Cycle(vec![6, 6]));
    }

    #[test]
    fn layers_of_diamonds_and_long_chains_cost_one_step_for_each_edge() {
        let layer = |at: usize| if at < 10 { vec![] } else { ((at / 10 - 1) * 10..at / 10 * 10).collect() };
        let diamonds: Vec<Vec<usize>> = (0..5_000).map(layer).collect();
        assert_eq!(depths(&diamonds)[4_999], Depth::Finite(499));
        let ring: Vec<Vec<usize>> = (0..5_000).map(|at| vec![(at + 1) % 5_000]).collect();
        assert!(
            depths(&ring)
                .iter()
                .all(|s| matches!(s, Depth::Cycle(path) if path.len() == SHOWN_COUNT_MAX + 1))
        );
    }
}
