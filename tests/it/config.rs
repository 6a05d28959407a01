//! Starting a node with a configuration that does not fit the machine.

use feria::app::Listeners;
use feria::config::{Config, Network};

#[tokio::test]
async fn an_occupied_port_names_the_key_to_change() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::new(Network::Simulated, folder.path());
    config.public.listen = "127.0.0.1:0".parse().unwrap();
    config.admin.listen = taken.local_addr().unwrap();

    let refused = Listeners::bind(&mut config).await.unwrap_err();

    let message = format!("{refused:#}");
    assert!(message.contains("`admin.listen`"), "{message}");
    assert!(message.contains("feria.toml"), "{message}");
}

#[tokio::test]
async fn an_empty_public_url_becomes_the_address_listened_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::new(Network::Simulated, folder.path());
    config.public.listen = "127.0.0.1:0".parse().unwrap();
    config.admin.listen = "127.0.0.1:0".parse().unwrap();

    let listeners = Listeners::bind(&mut config).await.unwrap();

    let public = listeners.addresses().unwrap().public;
    assert_eq!(config.public.url, format!("http://{public}"));
}
