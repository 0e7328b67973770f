//! `/plugin`, as MOSN has it, and `/api/v1/plugins`: what keeps plugins running is asked, and ordered.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use transom_api::control::{Control, PluginFault, PluginOrder};
use transom_api::node::known;

use crate::answer::{Pieces, answer, text};
use crate::dump;
use crate::routes::{Shown, failed};

/// MOSN's form: `?status=all`, `?status=NAME`, `?enable=NAME`, `?disable=NAME`, answered in its words.
pub(crate) async fn mosn(State(desk): Shown, method: Method, uri: Uri) -> Response {
    let query = uri.query().unwrap_or_default().to_owned();
    // MOSN changes things by GET, which a link on a page, a prefetch or a crawler sends too.
    let may_change = method == Method::POST || desk.mosn_compatible;
    let asked = desk.control.plugin_query(query, may_change);
    // A task of its own: a client that goes away must not leave an order half done.
    match tokio::spawn(asked).await {
        Ok(said) => {
            let status = StatusCode::from_u16(said.status).unwrap_or(StatusCode::BAD_REQUEST);
            text(status, said.body)
        }
        Err(fault) => failed("the order", &fault),
    }
}

/// All plugins with all that is known of them.
pub(crate) async fn all(State(desk): Shown) -> Response {
    desk.render("application/json", |control| {
        dump::render(control.plugins())
    })
    .await
}

/// One plugin.
pub(crate) async fn one(State(desk): Shown, Path(name): Path<String>) -> Response {
    let Some(node) = desk.control.plugin(&name) else {
        return unknown(&*desk.control, &name);
    };
    desk.render("application/json", move |_| dump::render(node))
        .await
}

/// `enable`, `disable`, `restart` or `swap`. Answers when it is done.
pub(crate) async fn order(
    State(desk): Shown,
    Path((name, order)): Path<(String, String)>,
) -> Response {
    let Some(order) = PluginOrder::ALL
        .into_iter()
        .find(|known| known.name() == order)
    else {
        let names = PluginOrder::ALL.map(PluginOrder::name);
        let why = known(&order, "orders", &names);
        return text(
            StatusCode::NOT_FOUND,
            format!("there is no order {order:?}: {why}"),
        );
    };
    let control = Arc::clone(&desk.control);
    let ordered = control.order_plugin(&name, order);
    match tokio::spawn(ordered).await {
        Ok(Ok(said)) => {
            let json = serde_json::json!({"plugin": name, "order": order.name(), "done": said});
            let page = format!("{json:#}\n").into_bytes();
            answer(StatusCode::OK, "application/json", Pieces::cut(&page))
        }
        Ok(Err(PluginFault::Unknown)) => unknown(&*desk.control, &name),
        Ok(Err(PluginFault::Refused(why))) => text(StatusCode::CONFLICT, why),
        Err(fault) => failed("the order", &fault),
    }
}

fn unknown(control: &dyn Control, name: &str) -> Response {
    let names = control.plugin_names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    text(
        StatusCode::NOT_FOUND,
        format!(
            "there is no plugin {name:?}: {}",
            known(name, "plugins", &names)
        ),
    )
}
