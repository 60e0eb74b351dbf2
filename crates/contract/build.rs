//! Compiles the contract with protox, so that no build machine needs `protoc`.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs, io};

use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::Type;

/// The messages that carry a password, a token or a link. `src/lib.rs` writes their `Debug` by hand;
/// if the two lists differ, the crate does not compile.
const SECRET_MESSAGES: [&str; 7] = [
    ".usher.v1.InviteUserResponse",
    ".usher.v1.ResendInvitationResponse",
    ".usher.v1.LookUpInvitationRequest",
    ".usher.v1.AcceptInvitationRequest",
    ".usher.v1.VerifyPasswordRequest",
    ".usher.v1.ResetPasswordRequest",
    ".usher.v1.ChangeEmailRequest",
];

/// The messages of checks, which `wire` has with `Bytes` in place of `String`.
const WIRE_MESSAGES: [&str; 14] = [
    "Automation",
    "Check",
    "CheckOutcome",
    "CheckPermissionRequest",
    "CheckPermissionResponse",
    "CheckPermissionsRequest",
    "CheckPermissionsResponse",
    "CheckResult",
    "Consistency",
    "ListPermissionsRequest",
    "ListPermissionsResponse",
    "PermissionEntry",
    "Resource",
    "Subject",
];

const FILES: [&str; 7] = [
    "usher/v1/account_service.proto",
    "usher/v1/audit_service.proto",
    "usher/v1/authorization_service.proto",
    "usher/v1/license_service.proto",
    "usher/v1/member_service.proto",
    "usher/v1/sign_in_service.proto",
    "usher/v1/user_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=../../proto");

    let mut compiler = protox::Compiler::new(["../../proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;

    // Encoded by the compiler itself: the way through prost-types would lose custom options.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("usher_descriptor.bin"), compiler.encode_file_descriptor_set())?;

    tonic_prost_build::configure().skip_debug(SECRET_MESSAGES).compile_fds(compiler.file_descriptor_set())?;
    compile_wire(compiler.file_descriptor_set(), out.join("wire"))?;
    Ok(())
}

/// On the wire a string is its bytes, so turning one type into the other leaves the contract as it is.
fn compile_wire(mut files: FileDescriptorSet, out: PathBuf) -> io::Result<()> {
    let mut builder = tonic_prost_build::configure().build_client(false).bytes(".").out_dir(&out);
    for file in files.file.iter_mut().filter(|file| file.package() == "usher.v1") {
        file.service.retain(|service| service.name() == "AuthorizationService");
        for message in &mut file.message_type {
            if WIRE_MESSAGES.contains(&message.name()) {
                let texts = message.field.iter_mut().filter(|field| field.r#type() == Type::String);
                texts.for_each(|text| text.set_type(Type::Bytes));
            } else {
                builder = same_as_v1(builder, message.name());
            }
        }
        for value in &file.enum_type {
            builder = same_as_v1(builder, value.name());
        }
    }
    fs::create_dir_all(out)?;
    builder.compile_fds(files)
}

fn same_as_v1(builder: tonic_prost_build::Builder, name: &str) -> tonic_prost_build::Builder {
    builder.extern_path(format!(".usher.v1.{name}"), format!("crate::v1::{name}"))
}
