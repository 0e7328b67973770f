//! A runner of one's own: a plugin that sees other paths than its host.

use std::io;
use std::path::PathBuf;

use transom_goplugin::PluginAddr;
use transom_goplugin::host::{
    Boxed, Client, ClientConfig, Exit, Launch, Runner, Running, StartError,
};
use transom_goplugin::plugin::{ServeConfig, serve_test};

use crate::hostile::Fake;
use crate::support::handshake;

/// Stands for a container, inside which the host's folder is `/inside`.
struct Container {
    plugin: Fake,
    folder: PathBuf,
}

impl Runner for Container {
    fn start(&mut self, launch: Launch) -> Boxed<'_, Result<Running, StartError>> {
        let variable = |name: &str| {
            let mut all = launch.environment.iter();
            all.find(|(key, _)| key == name)
                .map(|(_, value)| value.clone())
        };
        assert_eq!(variable("TEST_MAGIC_COOKIE").unwrap(), "test");
        assert_eq!(
            variable("PLUGIN_UNIX_SOCKET_DIR").unwrap(),
            launch.socket_folder.as_os_str()
        );
        self.plugin.start(launch)
    }

    fn wait(&self) -> Boxed<'_, io::Result<Exit>> {
        self.plugin.wait()
    }

    fn kill(&self) -> Boxed<'_, io::Result<()>> {
        self.plugin.kill()
    }

    fn name(&self) -> String {
        "container".into()
    }

    fn plugin_to_host(&self, address: PluginAddr) -> io::Result<PluginAddr> {
        match address {
            PluginAddr::Unix(path) => match path.strip_prefix("/inside") {
                Ok(rest) => Ok(PluginAddr::Unix(self.folder.join(rest))),
                Err(error) => Err(io::Error::other(error)),
            },
            PluginAddr::Tcp(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

#[tokio::test]
async fn addresses_are_translated_by_the_runner() {
    let server = serve_test(ServeConfig::new(handshake()).plugins(Default::default()))
        .await
        .unwrap();
    let PluginAddr::Unix(socket) = server.reattach_config().address.clone() else {
        panic!("{:?}", server.reattach_config());
    };
    let name = socket.file_name().unwrap().to_str().unwrap();
    let container = |line: String| Container {
        plugin: Fake::saying(line),
        folder: socket.parent().unwrap().to_owned(),
    };
    let config = ClientConfig::new(handshake())
        .runner(container(format!("1|1|unix|/inside/{name}|grpc|\n")));
    let client = Client::start(config).await.unwrap();
    client.ping().await.unwrap();
    client.kill().await;
    server.stop().await;

    let config =
        ClientConfig::new(handshake()).runner(container("1|1|unix|/outside/x|grpc|\n".to_owned()));
    let error = Client::start(config).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("translation of the plugin's address"),
        "{error}"
    );
}
