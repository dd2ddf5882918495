use super::*;

#[test]
fn a_credential_is_known_by_its_name_and_what_says_nothing_of_a_caller_by_that() {
    for name in [
        "sid",
        "connect.sid",
        "koa:sess",
        "SESS0123456789abcdef",
        "api_key",
        "PHPSESSID",
        "JSESSIONID",
        "laravel_session",
        "_app_session",
        ".AspNetCore.Cookies",
        "wordpress_logged_in_0a",
        "remember_web_59",
        "access_token",
        "auth",
        "x-user-token",
    ] {
        assert!(may_be_a_credential(name), "{name}");
    }
    for name in [
        "theme",
        "lang",
        "sidebar",
        "consent",
        "device_type",
        "lesson",
        "assessment",
    ] {
        assert!(!may_be_a_credential(name), "{name}");
    }
}

#[test]
fn shapes_are_anchored_at_both_ends() {
    for name in [
        "_ga",
        "_ga_1ABC2",
        "_gat_gtag_UA_12_3",
        "_gat_UA-12-3",
        "_hjSessionUser_123",
        "ph_phc_x1_posthog",
        "mp_0123456789abcdef0123456789abcdef_mixpanel",
        "amplitude_id_0a",
        "AMP_0123456789",
        "AMP_MKTG_0123456789",
        "_pk_ses.1.1fff",
        "_sp_id.1fff",
        "__hssc",
        "BIGipServerpool",
        "AWSALB",
        "__utmz",
    ] {
        assert_eq!(cookie(name), Kind::Passing, "{name}");
    }
    for name in [
        "_gate_session",
        "_ga_",
        "_ga_session",
        "_gat_gtag_UA_1",
        "_hjar",
        "_hj_x_",
        "ph_posthog",
        "mp_1_mixpanel",
        "AMP_TOKEN",
        "_pk_ses.1",
        "_pk_session.1.1fff",
        "_sp_ses.1ffff",
        "sessionid",
        "connect.sid",
        "access_token",
        "JSESSIONID",
        "awsalb",
        "xAWSALB",
        "OptanonConsentX",
    ] {
        assert_eq!(cookie(name), Kind::Principal, "{name}");
    }
    assert_eq!(cookie("csrftoken"), Kind::Condition);
}

#[test]
fn headers_have_the_kind_of_the_table() {
    for (name, kind) in [
        ("authorization", Kind::Principal),
        ("x-api-key", Kind::Principal),
        ("origin", Kind::Condition),
        ("user-agent", Kind::Condition),
        ("x-org-id", Kind::Scope),
        ("x-anything", Kind::Scope),
        ("sec-ch-ua-platform", Kind::Passing),
        ("sec-ch-ua-", Kind::Scope),
        ("referer", Kind::Passing),
        ("x-b3-traceid", Kind::PerCall),
        ("traceparent", Kind::PerCall),
        ("x-hub-signature", Kind::Proof),
        ("if-match", Kind::Conditional),
        ("prefer", Kind::Conditional),
        ("x-forwarded-proto", Kind::Framing),
        ("x-forwarded-prefix", Kind::Scope),
    ] {
        assert_eq!(header(name), kind, "{name}");
    }
    assert!(
        proves_one_call("Digest username=x") && proves_one_call("AWS4-HMAC-SHA256 Credential=x")
    );
    assert!(!proves_one_call("Bearer digest") && !proves_one_call("Basic eA=="));
}
