pub(crate) type NameServerCommand = ();
pub(crate) type ConsumerCommand = ();
