//! Read models of the cluster.
