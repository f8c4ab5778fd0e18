package adminrpc

import "github.com/holdfastvpn/holdfast/transport/adminrpc/internal/pb"

// needs says which role each method needs. What is not in it is refused.
var needs = map[string]Role{ //nolint:gochecknoglobals // a table that nobody writes
	pb.LocationServiceCreateLocationProcedure: Admin,
	pb.LocationServiceGetLocationProcedure:    ReadOnly,
	pb.LocationServiceListLocationsProcedure:  ReadOnly,
	pb.LocationServiceUpdateLocationProcedure: Admin,
	pb.LocationServiceDeleteLocationProcedure: Admin,

	pb.DeviceServiceAddDeviceProcedure:     Admin,
	pb.DeviceServiceImportDevicesProcedure: Admin,
	pb.DeviceServiceGetDeviceProcedure:     ReadOnly,
	pb.DeviceServiceListDevicesProcedure:   ReadOnly,
	pb.DeviceServiceUpdateDeviceProcedure:  Admin,
	pb.DeviceServiceDeleteDeviceProcedure:  Admin,
	pb.DeviceServicePlaceDeviceProcedure:   Admin,
	pb.DeviceServiceLeaveLocationProcedure: Admin,
	pb.DeviceServiceGetProfileProcedure:    ReadOnly,

	pb.GatewayServiceCreateJoinTokenProcedure: Admin,
	pb.GatewayServiceListGatewaysProcedure:    ReadOnly,
	pb.GatewayServiceUpdateGatewayProcedure:   Admin,
	pb.GatewayServiceRemoveGatewayProcedure:   Admin,

	pb.OwnerServiceListOwnersProcedure:   ReadOnly,
	pb.OwnerServiceDisableOwnerProcedure: Admin,
	pb.OwnerServiceEnableOwnerProcedure:  Admin,

	pb.OverviewServiceGetOverviewProcedure:   ReadOnly,
	pb.OverviewServiceWatchOverviewProcedure: ReadOnly,

	pb.EventServiceListEventsProcedure:   ReadOnly,
	pb.EventServiceFollowEventsProcedure: ReadOnly,

	pb.TokenServiceCreateTokenProcedure: Admin,
	pb.TokenServiceListTokensProcedure:  Admin,
	pb.TokenServiceRevokeTokenProcedure: Admin,

	pb.CoreServiceBackupProcedure:    Admin,
	pb.CoreServiceRotateKeyProcedure: Admin,
}

// may says whether a role is enough for a method.
func (r Role) may(procedure string) bool {
	switch needs[procedure] {
	case Admin:
		return r == Admin
	case ReadOnly:
		return r == Admin || r == ReadOnly
	}
	return false
}
