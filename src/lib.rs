//! Call other HTTP services from a tower server.

#![cfg_attr(docsrs, feature(doc_cfg))]
